import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tasks.caching.key import code_of, digest_of, flatten, stage_call
from tasks.caching.records import Record, last_file, record_name, remember_last
from tasks.caching.runs.manifest import MANIFEST, REPORT, ArtifactEntry, Environment, Manifest, StageEntry
from tasks.caching.runs.sums import SUMS, list_sums
from tasks.caching.stage import StageConfig, StageContext, StageReport, stage
from tasks.caching.storage.durable import replace_file
from tasks.caching.storage.reference import Outputs, Reference
from tasks.caching.storage.store import Store, run_path

PROJECT = Path(__file__).parents[2]

#: Starts a Python process that runs a text with arguments, from the project's root.
StartPython = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(autouse=True)
def fresh_code() -> Iterator[None]:
    """Each test looks at the code anew, as a new process does."""
    code_of.cache_clear()
    yield
    code_of.cache_clear()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store of its own."""
    return Store(tmp_path / "project")


@pytest.fixture
def start_python() -> Iterator[StartPython]:
    """Starts Python processes; what still runs at the end of the test is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            cwd=PROJECT,
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


class Disk:
    """Stands between the code and the disk: notes what makes things durable or visible, and can fail at any of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.fails_at: int | None = None
        for name in ("replace", "rename"):
            monkeypatch.setattr(os, name, self._moving(getattr(os, name)))
        monkeypatch.setattr(os, "fsync", self._syncing(os.fsync))

    def _note(self, *call: Any) -> None:
        if len(self.calls) == self.fails_at:
            raise OSError("the disk failed")
        self.calls.append(call)

    def _moving(self, move: Callable[..., None]) -> Callable[..., None]:
        def moved(source: Path, target: Path) -> None:
            self._note("rename", Path(source), Path(target))
            move(source, target)

        return moved

    def _syncing(self, sync: Callable[[int], None]) -> Callable[[int], None]:
        def synced(descriptor: int) -> None:
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            self._note("fsync", path, path.read_bytes() if path.is_file() else None)
            sync(descriptor)

        return synced


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


#: To be put before what a process does: `fork()` makes a child of it which outlives it, and lives until the test ends.
FORK = """
import os
def fork():
    there, here = os.pipe()
    if os.fork() == 0:
        os.write(here, b".")
        os.read(0, 1)
        os._exit(0)
    os.read(there, 1)
"""


class NoConfig(StageConfig):
    """Sees nothing."""


@stage(NoConfig, outputs=("table", "note"), libraries=())
def make(config, inputs, context):
    return {"table": context.publish("table.parquet", b"rows " * 40), "note": context.publish("note.json", b'{"a": 1}')}


make.function.__module__ = "tasks.generate"


def finish(store: Store) -> Reference:
    """What a stage leaves that was carried out: its artifacts, its record, its last ingredients; gives the table."""
    call = stage_call(make, NoConfig(), {})
    outputs = make.function(call.config, {}, StageContext("make", store))
    record = Record("make", call.key, call.ingredients, outputs, 0.5)
    envelope = json.dumps({"metadata": {}, "result": record.to_json().decode()}).encode()
    replace_file(store.records / record_name(call), envelope)
    remember_last("line", call, store)
    return outputs["table"]


@contextlib.contextmanager
def fault_at(number: int, fault: Callable[[], Any], operations: Sequence[tuple[Any, str]]) -> Iterator[list[int]]:
    """Calls `fault` before the operation of this number, each known by owner and name; yields the count."""
    reached: list[int] = []

    def counted(operation: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            reached.append(len(reached) + 1)
            if reached[-1] == number:
                fault()
            return operation(*arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in operations:
            patch.setattr(owner, name, counted(getattr(owner, name)))
        yield reached


ENVIRONMENT = Environment(
    device="cpu", device_note="", threads=1, python="3.11.7", machine="Linux x86_64", versions={}, git_commit=None
)


def save_run(
    store: Store, name: str, number: int, experiment: str = "line", settings: Mapping[str, Any] | None = None
) -> list[str]:
    """A run that went through `make`, whose table all runs share, `train` and `save`; gives the paths of its records.

    Args:
        store: where.
        name: of the run.
        number: tells it from others, and orders them in time.
        experiment: whose run it is.
        settings: of the experiment.
    """
    settings = {"name": experiment, **(settings or {})}
    made = {"table": StageContext("make", store).publish("table.parquet", b"rows")}
    trained = {"weights": StageContext("train", store).publish("weights.pth", b"weights %d" % number)}
    files = {"line.pth": b"weights %d" % number, REPORT: b"<html>"}
    ingredients = {"make": {"rows": 4}, "train": {"number": number}, "save": {"number": number, **flatten(settings)}}
    checkpoint = Reference.of_content(run_path(name, "line.pth"), files["line.pth"])
    manifest = Manifest(
        run=name,
        created=f"2026-01-01T00:00:{number:02d}+00:00",
        checkpoint="line.pth",
        experiment=settings,
        seed=42,
        environment=ENVIRONMENT,
        stages=[
            StageEntry.of(StageReport(stage, digest_of(ingredients[stage]), "run", (), 1.0, outputs))
            for stage, outputs in (("make", made), ("train", trained), ("save", {}))
        ],
        files={"line.pth": ArtifactEntry(**checkpoint.to_json())},
    )
    files[MANIFEST] = manifest.model_dump_json().encode()
    saved = store.publish_run(name, files | {SUMS: list_sums(files)})
    return [
        put_record(store, stage, ingredients[stage], outputs, experiment)
        for stage, outputs in (("make", made), ("train", trained), ("save", saved))
    ]


def of_another_version(store: Store, path: str) -> None:
    """Makes a record, or the manifest of a run, one of the next schema, whole as the next version writes it."""
    place = store.locate(path)
    if place.is_dir():
        manifest = json.loads((place / MANIFEST).read_bytes())
        (place / MANIFEST).write_text(json.dumps(manifest | {"schema_version": 2, "more": "of the next version"}))
        return
    fields = json.loads(json.loads(place.read_bytes())["result"]) | {"schema": 2, "more": "of the next version"}
    del fields["checksum"]
    place.write_text(json.dumps({"result": json.dumps(fields | {"checksum": digest_of(fields)})}))


def put_record(store: Store, stage: str, ingredients: dict[str, Any], outputs: Outputs, experiment: str) -> str:
    """The record of a stage, and what its experiment used last; gives the record's path."""
    record = Record(stage, digest_of(ingredients), ingredients, dict(outputs), 1.0)
    envelope = json.dumps({"metadata": {}, "result": record.to_json().decode()}).encode()
    path = f"artifacts/records/{stage}/{record.key}.json"
    replace_file(store.locate(path), envelope)
    replace_file(last_file(experiment, stage, store), json.dumps(ingredients).encode())
    return path
