"""External inputs: a stage depends on what a file outside the store holds, and looking at the file costs nothing."""

import contextlib
import errno
import json
import mmap
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from tasks.caching import external
from tasks.caching.decision import Planner, look_outside
from tasks.caching.execution import perform
from tasks.caching.external import ExternalInputError, digest_of_file, remember
from tasks.caching.gc.inspection import inspect_store
from tasks.caching.key import stage_call
from tasks.caching.records import record_name, remember_last
from tasks.caching.stage import StageConfig, StageContext, stage
from tasks.caching.storage.durable import replace_file
from tasks.caching.storage.reference import Outputs, Pending, Reference
from tasks.caching.storage.store import Store


class Settings(BaseModel):
    path: Path | None
    last: bool = False


class ImportConfig(StageConfig):
    path: Path | None
    immaterial = frozenset({"path"})


@stage(ImportConfig, outputs=("table",), libraries=(), external={"source": lambda config: config.path})
def load(config: ImportConfig, inputs: Mapping[str, Reference], context: StageContext) -> Outputs:
    content = context.external["source"].read_bytes() if context.external else b"none"
    return {"table": context.publish("table.json", b"[%d]" % len(content))}


load.function.__module__ = "tasks.generate"  # stands for a stage of the project


@pytest.fixture(autouse=True)
def fresh_digests(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Forgets the digests that this process remembers, before a test and whenever it is called, as a new one does."""
    monkeypatch.setattr(external, "_digests", {})
    return lambda: monkeypatch.setattr(external, "_digests", {})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A table that people edit."""
    path = tmp_path / "people.csv"
    path.write_text("x,y\n1,2\n")
    return path


@pytest.fixture(autouse=True)
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets digests be made a minute after the files were written."""
    real = time.time
    monkeypatch.setattr(external.time, "time", lambda: real() + 60)


def decide(store: Store, path: Path | None) -> tuple[str, tuple[str, ...]]:
    """What would become of the stage, and why."""
    planner = Planner("line", Settings(path=path), store)
    planner(load)
    decision = planner.decisions[0]
    return decision.status, tuple(map(str, decision.reasons))


def run(store: Store, path: Path | None) -> None:
    """Runs the stage and keeps its record, as the real run does."""
    settings = Settings(path=path)
    call = stage_call(load, settings, {}, look_outside(load, settings, "line", store))
    paths = {name: file.path for name, file in call.external.items()}
    record = perform(call, StageContext("load", store, external=paths))
    envelope = json.dumps({"result": record.to_json().decode()}).encode()
    replace_file(store.records / record_name(call), envelope)
    remember_last("line", call, store)
    remember("load", "line", call.external, store)


def test_a_file_that_is_unchanged_is_reused(store: Store, source: Path) -> None:
    run(store, source)
    assert decide(store, source) == ("reused", ("unchanged",))


def test_a_row_that_is_added_reruns_the_stage_and_says_so(store: Store, source: Path) -> None:
    run(store, source)
    with source.open("a") as file:
        file.write("3,4\n")
    assert decide(store, source) == ("will run", ("input source changed",))


def test_a_file_that_is_only_touched_is_reused(store: Store, source: Path) -> None:
    run(store, source)
    source.touch()
    assert decide(store, source) == ("reused", ("unchanged",))


def test_a_value_that_is_edited_without_a_trace_in_size_and_time_reruns_the_stage(store: Store, source: Path) -> None:
    run(store, source)
    times = source.stat()
    source.write_text("x,y\n1,3\n")
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert decide(store, source) == ("will run", ("input source changed",))


def test_where_the_file_lies_does_not_matter_if_its_path_is_immaterial(store: Store, source: Path) -> None:
    run(store, source)
    assert decide(store, source.rename(source.with_name("moved.csv"))) == ("reused", ("unchanged",))


def test_a_setting_that_names_no_file_stands_for_none(store: Store, source: Path) -> None:
    run(store, None)
    assert decide(store, None) == ("reused", ("unchanged",))
    assert decide(store, source) == ("will run", ("input source added",))


@pytest.mark.parametrize(
    ("name", "why"), [("gone.csv", "No such file or directory; put the file there"), ("", "is no plain file")]
)
def test_what_is_no_file_is_refused_by_name(store: Store, tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(ExternalInputError, match=why) as caught:
        decide(store, tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_a_relative_path_is_refused(store: Store) -> None:
    with pytest.raises(ExternalInputError, match=r"input source: 'people\.csv' is a relative path"):
        decide(store, Path("people.csv"))


def test_a_file_that_changes_while_the_stage_reads_it_fails_the_stage(store: Store, source: Path) -> None:
    settings = Settings(path=source)
    call = stage_call(load, settings, {}, look_outside(load, settings, "line", store))
    source.write_text("x,y\n1,2\n3,4\n")
    with pytest.raises(ExternalInputError, match=r"people\.csv changed while it was read: run again"):
        perform(call, StageContext("load", store, external={"source": source}))


def test_a_file_that_changes_and_is_restored_while_the_stage_runs_fails_the_stage(store: Store, source: Path) -> None:
    """The stage may have read it in between."""
    settings = Settings(path=source)
    call = stage_call(load, settings, {}, look_outside(load, settings, "line", store))
    content = source.read_text()
    source.write_text("x,y\n1,2\n3,4\n")
    source.write_text(content)
    with pytest.raises(ExternalInputError, match=r"people\.csv changed while it was read: run again"):
        perform(call, StageContext("load", store, external={"source": source}))


@pytest.fixture
def mapped(source: Path) -> Iterator[mmap.mmap]:
    """The table in memory, where it was written just now: another write to it does not touch the times of the file."""
    with source.open("r+b") as file, mmap.mmap(file.fileno(), 0) as table:
        table[4:5] = b"0"
        yield table


def notes_mapped_writes(path: Path) -> bool:
    """Whether a write through a memory map touches the time of a file that was written before; makes the file."""
    path.write_bytes(b"00")
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        os.fsync(file.fileno())
        before = path.stat()
        time.sleep(0.05)  # more than a tick of the kernel's clock
        content[0:1] = b"1"
        return path.stat().st_mtime_ns != before.st_mtime_ns


def test_a_file_that_changes_through_a_memory_map_while_the_stage_runs_fails_the_stage(
    store: Store, source: Path, mapped: mmap.mmap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external.os, "fsync", lambda descriptor: None)  # as in a file system that keeps no times
    settings = Settings(path=source)
    call = stage_call(load, settings, {}, look_outside(load, settings, "line", store))
    before = source.stat()
    mapped[4:5] = b"9"
    assert source.stat().st_mtime_ns == before.st_mtime_ns
    with pytest.raises(ExternalInputError, match=r"people\.csv changed while it was read: run again"):
        perform(call, StageContext("load", store, external={"source": source}))


def test_a_write_through_a_memory_map_is_noticed_after_the_digest_was_remembered(
    store: Store, source: Path, mapped: mmap.mmap, tmp_path: Path
) -> None:
    if not notes_mapped_writes(tmp_path / "probe"):
        pytest.skip("a file system in memory never notes a write through a memory map")
    run(store, source)
    assert decide(store, source) == ("reused", ("unchanged",))
    mapped[4:5] = b"9"
    assert decide(store, source) == ("will run", ("input source changed",))


@pytest.mark.parametrize(("code", "is_refused"), [(errno.EROFS, False), (errno.EIO, True)])
def test_a_disk_that_fails_to_write_the_file_is_reported(
    source: Path, monkeypatch: pytest.MonkeyPatch, code: int, is_refused: bool
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(external.os, "fsync", fail)
    with pytest.raises(ExternalInputError, match="Input/output error") if is_refused else contextlib.nullcontext():
        digest_of_file("source", source)


def test_a_file_that_changes_while_it_is_hashed_is_refused(
    store: Store, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = external.hashlib.file_digest

    def hash_slowly(file: Any, algorithm: str) -> Any:
        source.write_text("x,y\n")
        return original(file, algorithm)

    monkeypatch.setattr(external.hashlib, "file_digest", hash_slowly)
    with pytest.raises(ExternalInputError, match="changed while it was read"):
        decide(store, source)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are read to make digests of them."""
    found: list[str] = []
    original = external.hashlib.file_digest

    def note(file: Any, algorithm: str) -> Any:
        if file.name.endswith(".csv"):
            found.append(Path(file.name).name)
        return original(file, algorithm)

    monkeypatch.setattr(external.hashlib, "file_digest", note)
    return found


def test_a_later_process_does_not_read_the_file(
    store: Store, source: Path, hashed: list[str], fresh_digests: Callable[[], None]
) -> None:
    run(store, source)
    assert hashed == ["people.csv"] * 2, "for the key, and when the stage had read it"
    fresh_digests()
    assert decide(store, source) == ("reused", ("unchanged",))
    assert hashed == ["people.csv"] * 2


def test_the_digest_of_a_file_that_was_just_written_is_not_remembered(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # of the fixture that lets files that were just written be remembered
    monkeypatch.setattr(external, "_digests", {})
    source.touch()
    assert digest_of_file("source", source) == digest_of_file("source", source)
    assert not external._digests


@pytest.mark.parametrize("content", [b"", b"[]", b'{"/people.csv": "x"}', b'{"/people.csv": [1, 2, 3, 4, 5]}'])
def test_notes_that_cannot_be_read_cost_a_second_look_only(
    store: Store, source: Path, fresh_digests: Callable[[], None], content: bytes
) -> None:
    run(store, source)
    external.notes_file("load", "line", store).write_bytes(content)
    fresh_digests()
    assert decide(store, source) == ("reused", ("unchanged",))


def test_a_store_with_notes_is_clean(store: Store, source: Path) -> None:
    run(store, source)
    assert external.notes_file("load", "line", store).is_file()
    assert inspect_store(store).problems == []


def test_a_plan_writes_nothing(store: Store, source: Path) -> None:
    assert decide(store, source)[0] == "will run"
    assert not store.root.exists()


def test_a_stage_that_has_to_wait_says_what_changed_outside(store: Store, source: Path) -> None:
    run(store, source)
    waiting = replace(load, inputs=("rows",))
    source.write_text("x,y\n")
    planner = Planner("line", Settings(path=source), store)
    planner(waiting, {"rows": Pending("make")})
    reported = tuple(map(str, planner.decisions[0].reasons))
    assert reported == ("depends on the outcome of make", "input source changed")


def test_a_forced_stage_is_refused_too_if_its_file_is_gone(store: Store, tmp_path: Path) -> None:
    planner = Planner("line", Settings(path=tmp_path / "gone.csv"), store, frozenset({"load"}))
    with pytest.raises(ExternalInputError, match=r"gone\.csv"):
        planner(load)


def test_a_run_fails_with_the_stage_and_the_file(store: Store, tmp_path: Path) -> None:
    from tasks.caching.prefect_run import PrefectRun, StageError

    with pytest.raises(StageError, match=r"stage load failed: input source: .*gone\.csv: No such file or directory"):
        PrefectRun("line", Settings(path=tmp_path / "gone.csv"), store)(load)


def test_an_input_and_an_external_input_may_not_share_a_name() -> None:
    with pytest.raises(ValueError, match="stage load has two inputs 'table'"):
        stage(ImportConfig, inputs=("table?",), outputs=(), libraries=(), external={"table": lambda config: None})(
            load.function
        )
