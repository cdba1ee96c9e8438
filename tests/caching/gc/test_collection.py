"""A collection frees what nothing needs, and whatever happens meanwhile, nothing that is kept loses a file."""

import errno
import json
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.caching.gc import garbage as garbage_module
from tasks.caching.gc import inventory as inventory_module
from tasks.caching.gc.collection import HOLDER, collect
from tasks.caching.gc.garbage import VERIFIED, Garbage, Keep, find_garbage
from tasks.caching.gc.inspection import inspect_store
from tasks.caching.gc.inventory import ForeignStoreError, UnreadableStoreError, artifacts_of, read_records
from tasks.caching.gc.repair import repair_store
from tasks.caching.gc.uses import find_uses, store_in_use, uses_folder
from tasks.caching.locking.lock import FlockManager
from tasks.caching.records import Record, last_file, open_envelope
from tasks.caching.runs.manifest import Manifest
from tasks.caching.runs.verification import VERIFICATION, Check, write_verification
from tasks.caching.stage import StageContext
from tasks.caching.storage.durable import replace_link
from tasks.caching.storage.reference import Reference
from tasks.caching.storage.stage_checkpoints import StageCheckpoints
from tasks.caching.storage.store import Store
from tests.caching.conftest import StartPython, fault_at, of_another_version, put_record, save_run

DAY = 24 * 3600.0

#: What a collection does to the disk.
OPERATIONS = [(os, "unlink"), (os, "rename"), (os, "rmdir"), (os, "fsync")]


@pytest.fixture
def records(store: Store) -> dict[str, list[str]]:
    """Three runs of one experiment and one of another, all old; gives the records of each."""
    made = {f"line-{number}": save_run(store, f"line-{number}", number) for number in (1, 2, 3)}
    made["curve-1"] = save_run(store, "curve-1", 4, "curve")
    replace_link(store.runs / "latest", "curve-1")
    age_all(store)
    return made


def age_all(store: Store, seconds: float = DAY) -> None:
    """Lets everything have been written a day ago."""
    then = time.time() - seconds
    for path in store.root.rglob("*"):
        os.utime(path, (then, then), follow_symlinks=False)


def contents(store: Store) -> set[str]:
    paths = (path for path in store.root.rglob("*") if path.is_file() and "locks" not in path.parts)
    return {str(path.relative_to(store.root)) for path in paths}


def runs(store: Store) -> list[str]:
    return sorted(path.name for path in store.runs.iterdir() if not path.is_symlink())


def free(store: Store, keep: Keep | None = None) -> Garbage:
    keep = keep or Keep(last=1)
    return collect(store, find_garbage(store, keep))


def require_clean(store: Store) -> None:
    found = inspect_store(Store(store.root)).findings
    assert [finding for finding in found if finding.kind != "left over"] == []


def test_the_newest_runs_of_each_experiment_stay_with_all_that_they_descend_from(
    store: Store, records: dict[str, list[str]]
) -> None:
    before = contents(store)
    removed = free(store, Keep(last=2))
    assert runs(store) == ["curve-1", "line-2", "line-3"]
    gone = before - contents(store)
    assert {path for path in gone if path.startswith("artifacts/records")} == set(records["line-1"][1:])
    assert sum("weights-" in path for path in gone) == 1
    assert not any("table-" in path for path in gone), "the others are made of it too"
    assert sum(map(len, removed.by_kind.values())) == 1 + 2 + 1
    require_clean(store)
    assert find_garbage(store, Keep(last=2)).runs == {}


def test_finding_removes_nothing(store: Store, records: dict[str, list[str]]) -> None:
    before = contents(store)
    garbage = find_garbage(store, Keep(last=1))
    assert sorted(garbage.runs) == ["artifacts/runs/line-1", "artifacts/runs/line-2"]
    assert contents(store) == before


def test_it_shows_how_many_bytes_go(store: Store, records: dict[str, list[str]]) -> None:
    def taken() -> int:
        return sum((store.root / path).stat().st_size for path in contents(store))

    before = taken()
    removed = free(store)
    assert sum(sum(found.values()) for found in removed.by_kind.values()) == before - taken() > 0


def test_a_table_that_the_settings_of_a_run_name_goes_with_the_last_such_run(store: Store) -> None:
    """As a notebook puts it there, where no record of a stage names it."""
    table = store.publish("frames", "curve.parquet", b"a frame").path
    settings = {"data": {"kind": "table", "path": str(store.root / table)}}
    for number in (1, 2, 3):
        *_, save = save_run(store, f"line-{number}", number, settings=settings if number < 3 else None)
        if number < 3:  # else the record, too, names the table
            store.locate(save).unlink()
    replace_link(store.runs / "latest", "line-3")
    age_all(store)
    require_clean(store)
    assert table not in free(store, Keep(last=2)).artifacts
    assert runs(store) == ["line-2", "line-3"]
    require_clean(store)
    assert table in free(store, Keep(last=1)).artifacts
    assert not store.locate(table).exists()
    require_clean(store)


def test_it_stays_as_long_as_a_record_names_it(store: Store, records: dict[str, list[str]]) -> None:
    table = store.publish("frames", "curve.parquet", b"a frame").path
    put_record(store, "save", {"data.path": str(store.root / table)}, {}, "curve")
    age_all(store)
    require_clean(store)
    garbage = find_garbage(store, Keep(last=1))
    assert table not in garbage.artifacts
    assert collect(store, garbage).artifacts
    assert store.locate(table).exists()


def test_a_pinned_run_stays(store: Store, records: dict[str, list[str]]) -> None:
    free(store, Keep(last=1, pinned=frozenset({"line-1"})))
    assert runs(store) == ["curve-1", "line-1", "line-3"]
    require_clean(store)


@pytest.mark.parametrize(
    ("passed", "verified", "stays"), [(True, True, True), (False, True, False), (True, False, False)]
)
def test_a_verified_run_stays_if_wished(
    store: Store, records: dict[str, list[str]], passed: bool, verified: bool, stays: bool
) -> None:
    write_verification(store.runs / "line-1", [Check("digests", passed, "")], {})
    age_all(store)
    free(store, Keep(last=1, verified=verified))
    assert ("line-1" in runs(store)) is stays


def test_what_a_pointer_points_to_stays(store: Store, records: dict[str, list[str]]) -> None:
    replace_link(store.runs / "line-latest", "line-1")
    free(store)
    assert "line-1" in runs(store)


def test_what_is_young_stays(store: Store, records: dict[str, list[str]]) -> None:
    save_run(store, "line-0", 0)
    orphan = StageContext("train", store).publish("weights.pth", b"has no record yet")
    record = put_record(store, "make", {"rows": 5}, {}, "line")
    last_file("line", "make", store).unlink()
    garbage = find_garbage(store, Keep(last=1))
    assert orphan.path not in garbage.artifacts
    assert record not in garbage.records
    free(store)
    assert "line-0" in runs(store)
    assert store.path(orphan)
    require_clean(store)


def test_what_an_experiment_used_last_stays(store: Store, records: dict[str, list[str]]) -> None:
    shutil.rmtree(store.runs / "line-3")
    store.forget_run("line-3")
    store.locate(records["line-3"][2]).unlink()
    last_file("line", "save", store).unlink()
    free(store)
    for path in records["line-3"][:2]:
        assert is_whole(store, path)


def test_the_run_that_a_record_names_stays_with_it(store: Store, records: dict[str, list[str]]) -> None:
    save = store.locate(records["line-1"][2])
    last_file("line", "save", store).write_text(json.dumps(open_envelope(save.read_bytes(), save.stem).ingredients))
    age_all(store)
    assert find_garbage(store, Keep(last=1)).kept["line-1"] == "a record that stays names it"
    free(store)
    assert is_whole(store, records["line-1"][2])


def test_what_a_kept_run_was_made_of_stays_without_its_records(store: Store, records: dict[str, list[str]]) -> None:
    used = list(inventory_module.last_used(store))
    for path in records["line-1"]:
        if path.startswith("artifacts/records/"):
            store.locate(path).unlink()
            for note in (note for named, note in used if named == path):
                store.locate(note).unlink()
    assert find_garbage(store, Keep(last=3)).artifacts == {}
    assert find_garbage(store, Keep(last=1)).artifacts != {}


def test_a_collection_is_refused_while_all_records_are_away(store: Store, records: dict[str, list[str]]) -> None:
    """They name what no run does yet, such as the weights of a training that was not saved."""
    store.records.rename(store.root / "aside")
    with pytest.raises(UnreadableStoreError, match="artifacts/records has no record, though there are runs"):
        find_garbage(store, Keep())
    shutil.rmtree(store.records, ignore_errors=True)
    (store.root / "aside").rename(store.records)
    find_garbage(store, Keep())


@pytest.mark.parametrize("later", ["failed", "gone"])
def test_a_run_that_has_passed_a_verification_stays_whatever_comes_of_a_later_one(
    store: Store, records: dict[str, list[str]], later: str
) -> None:
    """Which may have failed because a table could not be read then."""
    store.remember_run("line-1", verified=True)
    store.remember_run("line-1")
    write_verification(store.runs / "line-1", [Check("digests", False, "")], {})
    if later == "gone":
        (store.runs / "line-1" / VERIFICATION).unlink()
    age_all(store)
    free(store, Keep(last=1))
    assert "line-1" in runs(store)


def test_a_collection_notes_which_runs_have_passed(store: Store, records: dict[str, list[str]]) -> None:
    write_verification(store.runs / "line-1", [Check("digests", True, "")], {})
    age_all(store)
    free(store, Keep(last=1))
    assert store.was_verified("line-1")
    assert not store.was_verified("line-3")


def test_foreign_files_and_what_was_set_aside_stay(store: Store, records: dict[str, list[str]]) -> None:
    (store.runs / "line-1" / ".tmp-1").touch()
    aside = store.root / store.set_aside(store.runs / "line-1")
    store.set_aside(store.locate(records["line-1"][2]))
    (store.root / "data/notes.txt").write_text("mine")
    age_all(store)
    free(store)
    assert (store.root / "data/notes.txt").exists()
    assert list(aside.rglob("run.json"))
    assert list(aside.rglob(".tmp-1"))


def test_stage_checkpoints_are_removed_when_they_are_old(store: Store) -> None:
    StageCheckpoints(store, "train", "a" * 64).keep(1, b"state")
    age_all(store, 29 * DAY)
    assert find_garbage(store, Keep()).stage_checkpoints == {}
    (store.artifacts / "states" / "elsewhere").symlink_to(store.root)
    age_all(store, 31 * DAY)
    assert len(free(store).stage_checkpoints) == 1
    assert not list(store.artifacts.glob("states/train/*/*"))
    assert (store.artifacts / "states" / "elsewhere").is_symlink()


def test_what_killed_runs_left_goes_when_it_is_old(store: Store, records: dict[str, list[str]]) -> None:
    (store.runs / ".tmp-run").mkdir()
    (store.runs / ".tmp-run" / "half").write_text("half")
    (store.root / "data/make/.tmp-1").write_text("half")
    assert find_garbage(store, Keep()).left_over == {}
    age_all(store)
    assert len(free(store).left_over) == 2
    require_clean(store)
    assert not list(store.root.rglob(".tmp-*"))


def test_what_a_killed_run_was_saving_is_no_run(store: Store, records: dict[str, list[str]]) -> None:
    """It may be all but saved, and then counts neither among the newest runs nor among those that cannot be read."""
    before = find_garbage(store, Keep(last=1))
    shutil.copytree(store.runs / "line-3", store.runs / ".tmp-whole")
    (store.runs / ".tmp-half").mkdir()
    (store.runs / ".tmp-half/line.pth").write_bytes(b"half")
    age_all(store)
    found = find_garbage(store, Keep(last=1))
    assert (found.kept, found.runs.keys()) == (before.kept, before.runs.keys())
    assert found.left_over.keys() == {"artifacts/runs/.tmp-whole", "artifacts/runs/.tmp-half"}


def test_killed_at_every_operation(store: Store, records: dict[str, list[str]], tmp_path: Path) -> None:
    free_whole = Store(shutil.copytree(store.root, tmp_path / "whole", symlinks=True))
    free(free_whole)
    for number in range(1, 100):
        harmed = Store(shutil.copytree(store.root, tmp_path / f"harmed-{number}", symlinks=True))
        child = os.fork()
        if child == 0:
            with fault_at(number, lambda: os.kill(os.getpid(), signal.SIGKILL), OPERATIONS):
                free(harmed)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        problems = inspect_store(harmed).problems
        assert problems == [], f"operation {number}"
        age_all(harmed)
        free(harmed)
        assert contents(harmed) == contents(free_whole), f"operation {number}"
        if not os.WIFSIGNALED(status):
            break
    assert os.WEXITSTATUS(status) == 0
    assert number > 12


def test_records_are_gone_from_the_disk_before_what_they_named(
    store: Store, records: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut undoes what was not synced: a record that is back then must find its artifacts."""
    unsynced: set[Path] = set()
    went: list[str] = []
    unlink, rename, sync = os.unlink, os.rename, os.fsync

    def removing(path: Path | str) -> None:
        place = Path(path)
        if place.is_relative_to(store.records) and "locks" not in place.parts and place.exists():
            unsynced.add(place.parent)
        elif place.parent == store.runs or (place.is_relative_to(store.root) and "-" in place.name):
            went.append(place.name)
            assert unsynced == set(), f"{place.name} goes before records of {unsynced} are known to be gone"

    def unlinked(path: Path | str, **options: Any) -> None:
        removing(path)
        unlink(path, **options)

    def renamed(source: Path, target: Path) -> None:
        removing(source)
        rename(source, target)

    def synced(descriptor: int) -> None:
        unsynced.discard(Path(f"/proc/self/fd/{descriptor}").readlink())
        sync(descriptor)

    garbage = find_garbage(store, Keep(last=1))
    with monkeypatch.context() as patch:
        for name, operation in (("unlink", unlinked), ("rename", renamed), ("fsync", synced)):
            patch.setattr(os, name, operation)
        collect(store, garbage)
    assert {"line-1", "line-2", *(Path(path).name for path in garbage.artifacts)} <= set(went)


def test_a_flow_that_begins_at_any_operation_loses_nothing(
    store: Store, records: dict[str, list[str]], tmp_path: Path
) -> None:
    """It looks for every record as Prefect does: tells of its use, takes the lock, reads. What it finds must last."""
    found_in_all = 0
    for number in range(1, 100):
        shared = Store(shutil.copytree(store.root, tmp_path / f"shared-{number}", symlinks=True))
        with store_in_use(shared) as use:
            found: list[str] = []

            def begin(shared: Store = shared, use=use, found: list[str] = found) -> None:
                for path in records["line-1"]:
                    use(path)
                    if look_up(shared, path):
                        found.append(path)

            # The lease is as young as its flow, so that it protects nothing by its age.
            with fault_at(number, begin, OPERATIONS) as reached:
                free(shared)
        for path in found:
            assert is_whole(shared, path), f"operation {number}: {path}"
        found_in_all += len(found)
        require_clean(shared)
        if number > len(reached):
            break
    assert number > 12
    assert found_in_all > 0, "no flow found anything, so that nothing was shown"


def look_up(store: Store, path: str) -> bool:
    """Whether a flow that looks for a record finds it; one that the collection holds just now is gone after it."""
    name, locks = path.removeprefix("artifacts/records/"), FlockManager(store.records / "locks")
    if not locks.acquire_lock(name, "flow", acquire_timeout=0):
        return False
    try:
        return is_whole(store, path)
    finally:
        locks.release_lock(name, "flow")


def is_whole(store: Store, path: str) -> bool:
    """Whether a record is there; if so, so must be all that it names."""
    try:
        envelope = store.locate(path).read_bytes()
    except FileNotFoundError:
        return False
    for reference in open_envelope(envelope, Path(path).stem).outputs.values():
        store.path(reference)
    return True


def test_a_flow_that_publishes_at_any_operation_keeps_what_it_made(
    store: Store, records: dict[str, list[str]], tmp_path: Path
) -> None:
    for number in range(1, 100):
        shared = Store(shutil.copytree(store.root, tmp_path / f"shared-{number}", symlinks=True))
        made: list[Reference] = []

        def publish(shared: Store = shared, made: list[Reference] = made) -> None:
            made.append(StageContext("train", shared).publish("weights.pth", b"weights 1"))

        flow = threading.Thread(target=publish)

        def begin(flow: threading.Thread = flow) -> None:
            flow.start()
            flow.join(0.02)  # it may have to wait for the collection

        with fault_at(number, begin, OPERATIONS[:3]) as reached:
            free(shared)
        if flow.ident is not None:
            flow.join()
        for reference in made:
            assert Store(shared.root).path(reference), f"operation {number}"
        if number > len(reached):
            break
    assert number > 6


def test_what_a_flow_uses_stays(store: Store, records: dict[str, list[str]]) -> None:
    with store_in_use(store) as use:
        use(records["line-1"][1])
        use("artifacts/runs/line-2")
        age_all(store)
        garbage = find_garbage(store, Keep(last=1))
        assert records["line-1"][1] not in garbage.records
        assert "artifacts/runs/line-2" not in garbage.runs
        free(store)
        assert is_whole(store, records["line-1"][1])
        assert "line-2" in runs(store)
    age_all(store)
    free(store)
    assert not store.locate(records["line-1"][1]).exists()
    assert "line-2" not in runs(store)


def test_what_comes_into_use_after_it_was_found_stays(store: Store, records: dict[str, list[str]]) -> None:
    garbage = find_garbage(store, Keep(last=1))
    with store_in_use(store) as use:
        use(records["line-1"][2])
        use("artifacts/runs/line-2")
        age_all(store)
        removed = collect(store, garbage)
    assert is_whole(store, records["line-1"][2])
    assert {"line-1", "line-2"} <= set(runs(store))
    assert removed.runs == {}


def test_a_record_that_is_locked_stays(store: Store, records: dict[str, list[str]]) -> None:
    name = records["line-1"][1].removeprefix("artifacts/records/")
    locks = FlockManager(store.records / "locks")
    assert locks.acquire_lock(name, "flow")
    free(store)
    assert is_whole(store, records["line-1"][1])
    locks.release_lock(name, "flow")
    assert not locks.is_lock_holder(name, HOLDER)
    free(store)
    assert not store.locate(records["line-1"][1]).exists()


def test_artifacts_of_a_flow_that_has_run_for_long_stay(store: Store) -> None:
    """Its first artifact may be hours old before the record that names it is written."""
    with store_in_use(store):
        orphan = StageContext("train", store).publish("weights.pth", b"has no record yet")
        age_all(store)
        lease = next(uses_folder(store).iterdir())
        lease.write_text(f"{time.time() - 2 * DAY!r}\n")
        assert find_garbage(store, Keep()).artifacts == {}
        collect(store, Garbage(artifacts={orphan.path: orphan.size}))
        assert store.path(orphan)
    free(store)
    assert not store.locate(orphan.path).exists()


def test_a_flow_that_was_killed_uses_nothing(
    store: Store, records: dict[str, list[str]], start_python: StartPython
) -> None:
    flow = start_python(
        "import sys, pathlib; from tasks.caching.storage.store import Store\n"
        "from tasks.caching.gc.uses import store_in_use\n"
        "with store_in_use(Store(pathlib.Path(sys.argv[1]))) as use:\n"
        "    use(sys.argv[2]); print('in use', flush=True); sys.stdin.read()",
        store.root,
        records["line-1"][1],
    )
    assert flow.stdout is not None
    assert flow.stdout.readline() == "in use\n"
    assert find_uses(store).paths == {records["line-1"][1]}
    flow.kill()
    flow.wait()
    assert find_uses(store).paths == frozenset()
    assert not list(uses_folder(store).iterdir())


def test_a_use_is_forgotten_when_the_flow_ends(store: Store) -> None:
    with store_in_use(store) as use:
        use("artifacts/runs/line-1")
        assert json.dumps(sorted(find_uses(store).paths)) == '["artifacts/runs/line-1"]'
    assert not list(uses_folder(store).iterdir())
    assert find_uses(store).paths == frozenset()
    assert find_uses(store).since == float("inf")


@pytest.mark.parametrize("what", ["record", "run"])
def test_nothing_is_removed_from_a_store_that_another_version_shares(
    store: Store, records: dict[str, list[str]], what: str
) -> None:
    """Of what it made, this version cannot tell what it needs."""
    path = "artifacts/runs/line-1" if what == "run" else records["line-1"][1]
    of_another_version(store, path)
    age_all(store)
    before = contents(store)
    with pytest.raises(ForeignStoreError, match=f"made {path}, and only that version knows.*: collect with that ver"):
        find_garbage(store, Keep(last=1))
    assert contents(store) == before


@pytest.mark.parametrize("lag", [0, 5])
@pytest.mark.parametrize("days", [-1, 1])
def test_a_clock_that_is_set_lets_no_more_be_removed(
    store: Store, records: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch, days: int, lag: int
) -> None:
    """What a flow has published that still runs, and what the newest runs are made of, is as young as it was.

    The clock that dates files may lag behind by some seconds.
    """
    expected = find_garbage(store, Keep(last=1)).by_kind
    now = time.time()
    with store_in_use(store):
        orphan = StageContext("make", store).publish("table.parquet", b"just published, and no record yet")
        temporary = store.root / "data/make/.tmp-1"
        temporary.write_text("half")
        for path in (store.path(orphan), temporary):
            os.utime(path, (now - lag, now - lag))
        monkeypatch.setattr(time, "time", lambda: now + days * DAY)
        found = find_garbage(store, Keep(last=1))
        assert all(found.by_kind[kind].keys() <= paths.keys() for kind, paths in expected.items())
        collect(store, found)
        assert store.path(orphan)
        assert temporary.exists()
    monkeypatch.undo()
    require_clean(store)


#: Files that name artifacts, or decide which runs stay: a record, a manifest, what was used last, a verification.
NAMING = [
    "artifacts/records/train/*.json",
    "artifacts/runs/line-3/run.json",
    "artifacts/records/last/line/train.json",
    "artifacts/runs/line-1/verification.json",
]


def failing(monkeypatch: pytest.MonkeyPatch, pattern: str, number: int) -> None:
    """Makes files that match a pattern give an error when they are read."""
    read = Path.read_bytes

    def fail(path: Path) -> bytes:
        if path.match(pattern):
            raise OSError(number, os.strerror(number), str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", fail)


@pytest.fixture
def verified(store: Store, records: dict[str, list[str]]) -> Store:
    """The same store with a verified run, which would stay for no other reason."""
    write_verification(store.runs / "line-1", [Check("digests", True, "")], {})
    age_all(store)
    return store


@pytest.mark.parametrize("pattern", NAMING)
def test_nothing_is_garbage_where_what_names_it_cannot_be_opened(
    verified: Store, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    failing(monkeypatch, pattern, errno.EMFILE)
    with pytest.raises(OSError, match="Too many open files"):
        find_garbage(verified, Keep(last=1))


@pytest.mark.parametrize("pattern", NAMING)
@pytest.mark.parametrize("fault", ["I/O error", "damage", "a folder in its place", "an empty folder"])
def test_a_collection_is_refused_where_what_names_artifacts_cannot_be_read(
    verified: Store, monkeypatch: pytest.MonkeyPatch, pattern: str, fault: str
) -> None:
    (path, *_) = sorted(verified.root.glob(pattern))
    match fault:
        case "I/O error":
            failing(monkeypatch, pattern, errno.EIO)
        case "damage":
            path.write_bytes(path.read_bytes()[:-1])
        case _:
            path.unlink()
            path.mkdir()
            if fault != "an empty folder":
                (path / "something").touch()
    age_all(verified)
    before = contents(verified)
    named = path.relative_to(verified.root)
    with pytest.raises(UnreadableStoreError, match=rf"refused: {named} cannot be read.*: restore it, or abandon it"):
        free(verified)
    assert contents(verified) == before


@pytest.mark.parametrize("moved", ["run.json", "."])
def test_a_collection_is_refused_while_a_run_is_moved_away(
    store: Store, records: dict[str, list[str]], tmp_path: Path, moved: str
) -> None:
    run, aside = store.runs / "line-3", tmp_path / "aside"
    (run / moved).rename(aside)
    age_all(store)
    with pytest.raises(UnreadableStoreError, match=r"refused: artifacts/runs/line-3/run\.json cannot be read"):
        free(store)
    aside.rename(run / moved)
    free(store)
    assert "line-3" in runs(store)
    require_clean(store)


@pytest.mark.parametrize("moved", ["its files", "its folder"])
def test_a_run_is_missed_whose_record_was_replaced(
    store: Store, records: dict[str, list[str]], tmp_path: Path, moved: str
) -> None:
    """The record of a save is that of the newest run with its key."""
    store.locate(records["line-3"][2]).unlink()
    last_file("line", "save", store).unlink()
    run, aside = store.runs / "line-3", tmp_path / "aside"
    run.rename(aside)
    if moved == "its files":
        run.mkdir()
    age_all(store)
    with pytest.raises(UnreadableStoreError, match=r"refused: artifacts/runs/line-3/run\.json cannot be read"):
        free(store)
    aside.rename(run)
    age_all(store)
    free(store)
    assert "line-3" in runs(store)
    require_clean(store)


@pytest.fixture
def unsaved(store: Store, records: dict[str, list[str]]) -> Path:
    """The record of a training that was used last, and that no run was saved of: it alone names the weights."""
    outputs = {"weights": StageContext("train", store).publish("weights.pth", b"weights of days")}
    path = put_record(store, "train", {"number": 99}, outputs, "line")
    age_all(store)
    return store.locate(path)


def test_a_collection_is_refused_while_a_record_that_was_used_last_is_moved_away(
    store: Store, unsaved: Path, tmp_path: Path
) -> None:
    aside, named = tmp_path / "aside", store.relative(unsaved)
    unsaved.rename(aside)
    before = contents(store)
    with pytest.raises(UnreadableStoreError, match=rf"refused: {named} is missing, though .*/last/line/train\.json"):
        free(store)
    assert contents(store) == before
    aside.rename(unsaved)
    age_all(store)
    free(store)
    assert is_whole(store, str(named))
    require_clean(store)


def test_a_record_that_is_gone_for_good_is_forgotten_by_a_repair(store: Store, unsaved: Path) -> None:
    put_record(store, "train", {"number": 99}, {}, "curve")  # both experiments used it last
    unsaved.unlink()
    repair = repair_store(store, inspect_store(store))
    assert repair.remaining.problems == []
    assert set(repair.forgotten) == {f"artifacts/records/last/{name}/train.json" for name in ("line", "curve")}
    age_all(store)
    free(store)
    require_clean(store)


def test_a_record_that_was_damaged_and_used_last_is_no_hindrance_after_a_repair(store: Store, unsaved: Path) -> None:
    unsaved.write_text("{")
    assert repair_store(store, inspect_store(store)).remaining.problems == []
    age_all(store)
    free(store)
    require_clean(store)


def test_a_collection_is_refused_while_what_says_what_was_used_last_is_away(
    store: Store, unsaved: Path, tmp_path: Path
) -> None:
    last = store.records / "last"
    last.rename(tmp_path / "aside")
    with pytest.raises(UnreadableStoreError, match="artifacts/records/last is missing, though there are records"):
        free(store)
    (tmp_path / "aside").rename(last)
    free(store)
    assert unsaved.exists()


def test_a_record_that_a_flow_has_used_since_it_was_found_stays(store: Store, records: dict[str, list[str]]) -> None:
    """The flow has ended, and with it its use; what it used last would be missing for the next collection."""
    path = records["line-1"][1]
    garbage = find_garbage(store, Keep(last=1))
    assert path in garbage.records
    record = open_envelope(store.locate(path).read_bytes(), store.locate(path).stem)
    last_file("line", "train", store).write_text(json.dumps(record.ingredients))
    assert path not in collect(store, garbage).records
    assert is_whole(store, path)
    age_all(store)
    free(store)
    require_clean(store)


def test_a_record_that_was_replaced_as_the_last_while_the_store_is_read_is_no_hindrance(
    store: Store, unsaved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run follows, and then another collection, which removes the record that the first one used."""
    look = inventory_module.is_missing

    def replaced(path: Path) -> bool:
        if path == unsaved and unsaved.exists():
            put_record(store, "train", {"number": 100}, {}, "line")
            unsaved.unlink()
        return look(path)

    monkeypatch.setattr(inventory_module, "is_missing", replaced)
    assert "artifacts/runs/line-1" in find_garbage(store, Keep(last=1)).runs


def test_a_run_that_is_gone_for_good_is_forgotten_by_a_repair(store: Store, records: dict[str, list[str]]) -> None:
    shutil.rmtree(store.runs / "line-1")
    store.locate(records["line-1"][2]).unlink()
    inspection = inspect_store(store)
    assert [(finding.path, finding.what) for finding in inspection.problems] == [
        ("artifacts/runs/line-1", "it was saved, and is gone")
    ]
    assert repair_store(store, inspection).remaining.problems == []
    age_all(store)
    free(store)
    require_clean(store)


def test_no_run_is_missed_that_was_removed_or_set_aside(store: Store, records: dict[str, list[str]]) -> None:
    store.set_aside(store.runs / "line-1")
    store.set_aside(store.locate(records["line-1"][2]))
    age_all(store)
    free(store)
    assert {path.name for path in store.saved.iterdir()} == set(runs(store)) == {"curve-1", "line-3"}
    require_clean(store)


@pytest.mark.parametrize("run", ["line-1", "line-3"])
def test_a_collection_is_refused_while_a_run_is_behind_a_link(
    store: Store, records: dict[str, list[str]], tmp_path: Path, run: str
) -> None:
    folder, elsewhere = store.runs / run, tmp_path / "elsewhere"
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)
    age_all(store)
    with pytest.raises(UnreadableStoreError, match=rf"refused: artifacts/runs/{run} is a link"):
        free(store)
    folder.unlink()
    elsewhere.rename(folder)
    free(store)
    require_clean(store)


def test_a_collection_is_refused_while_a_run_has_another_name(store: Store, records: dict[str, list[str]]) -> None:
    for path in (*store.records.glob("save/*.json"), *store.records.glob("last/*/save.json")):
        path.unlink()  # of an older run with its key, the record is gone
    renamed = (store.runs / "line-1").rename(store.runs / "a good run")
    age_all(store)
    with pytest.raises(UnreadableStoreError, match="artifacts/runs/a good run is the run 'line-1' under another name"):
        free(store)
    renamed.rename(store.runs / "line-1")
    shutil.copytree(store.runs / "line-1", store.runs / "a copy")
    age_all(store)
    free(store)  # beside the run itself, a copy is only foreign


@pytest.mark.parametrize("pattern", [rb'"seed":\d', rb'"key":"[0-9a-f]'])
def test_a_manifest_that_is_not_as_it_was_saved_is_not_believed(
    store: Store, records: dict[str, list[str]], pattern: bytes
) -> None:
    path = store.runs / "line-3" / "run.json"
    whole = path.read_bytes()
    found = re.search(pattern, whole)
    assert found
    digit = b"2" if whole[found.end() - 1 : found.end()] == b"1" else b"1"
    path.write_bytes(whole[: found.end() - 1] + digit + whole[found.end() :])
    age_all(store)
    with pytest.raises(UnreadableStoreError, match=r"line-3/run\.json does not have the digest in SHA256SUMS"):
        free(store)
    (store.runs / "line-3" / "SHA256SUMS").unlink()
    age_all(store)
    with pytest.raises(UnreadableStoreError, match=r"refused: artifacts/runs/line-3/SHA256SUMS cannot be read"):
        free(store)


@pytest.mark.parametrize("left", ["nothing", "an empty folder", "a link to nothing"])
def test_tables_stay_while_the_disk_of_artifacts_is_away(
    store: Store, records: dict[str, list[str]], tmp_path: Path, left: str
) -> None:
    tables = {path for path in contents(store) if path.startswith("data/")}
    assert tables
    aside = tmp_path / "aside"
    store.artifacts.rename(aside)
    if left == "an empty folder":
        store.artifacts.mkdir()
    elif left == "a link to nothing":
        store.artifacts.symlink_to(tmp_path / "mount")
    age_all(store)
    with pytest.raises(UnreadableStoreError, match="refused: artifacts/ has no run and no record, though data/ has"):
        free(store)
    assert {path for path in contents(store) if path.startswith("data/")} == tables


def test_a_run_that_was_put_back_is_missed_again(store: Store, records: dict[str, list[str]], tmp_path: Path) -> None:
    """As is one that was received: a collection notes what it keeps."""
    store.forget_run("line-3")
    age_all(store)
    free(store)
    store.locate(records["line-3"][2]).unlink(missing_ok=True)
    (store.runs / "line-3").rename(tmp_path / "aside")
    age_all(store)
    with pytest.raises(UnreadableStoreError, match=r"refused: artifacts/runs/line-3/run\.json cannot be read"):
        free(store)


@pytest.mark.parametrize("text", ["{}", '{"passed": 1}', '{"passed": null}'])
def test_an_outcome_that_says_nothing_is_not_taken_for_a_failure(
    store: Store, records: dict[str, list[str]], text: str
) -> None:
    (store.runs / "line-1" / "verification.json").write_text(text)
    age_all(store)
    with pytest.raises(UnreadableStoreError, match=r"line-1/verification\.json does not say whether the run passed"):
        free(store)


def pass_a_verification(store: Store) -> None:
    write_verification(store.runs / "line-1", [Check("digests", True, "")], {})
    store.remember_run("line-1", verified=True)


def point_latest_to_it(store: Store) -> None:
    replace_link(store.runs / "latest", "line-1")


@pytest.mark.parametrize("need", [pass_a_verification, point_latest_to_it])
def test_a_run_that_has_come_to_be_needed_since_it_was_found_stays_with_what_it_was_made_of(
    store: Store, records: dict[str, list[str]], need: Callable[[Store], None]
) -> None:
    garbage = find_garbage(store, Keep(last=1))
    assert "artifacts/runs/line-1" in garbage.runs
    need(store)
    removed = collect(store, garbage)
    assert "artifacts/runs/line-1" not in removed.runs
    named = artifacts_of([Manifest.read(store.runs / "line-1")])
    assert {path for path in named if not store.locate(path).is_file()} == set()
    assert store.was_verified("line-1") or need is point_latest_to_it


def test_a_run_that_passed_once_stays_though_it_was_given_up_and_put_back(
    store: Store, records: dict[str, list[str]], tmp_path: Path
) -> None:
    pass_a_verification(store)
    write_verification(store.runs / "line-1", [Check("digests", False, "a table was away")], {})
    (store.runs / "line-1").rename(tmp_path / "aside")
    repair_store(store, inspect_store(store))
    assert not store.was_verified("line-1")
    (tmp_path / "aside").rename(store.runs / "line-1")
    age_all(store)
    assert find_garbage(store, Keep(last=1)).kept["line-1"] == VERIFIED


def test_a_note_that_cannot_be_read_is_named(verified: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    verified.remember_run("line-1")
    age_all(verified)
    failing(monkeypatch, "artifacts/saved/line-1", errno.EIO)
    with pytest.raises(UnreadableStoreError, match="refused: artifacts/saved/line-1 cannot be read"):
        free(verified)


def test_a_collection_stops_where_a_manifest_becomes_unreadable(
    store: Store, records: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    garbage = find_garbage(store, Keep(last=1))
    weights = [path for path in contents(store) if "weights-" in path]
    failing(monkeypatch, "artifacts/runs/line-3/run.json", errno.EIO)
    with pytest.raises(UnreadableStoreError):
        collect(store, garbage)
    assert {*weights} <= contents(store)


def test_a_run_that_is_saved_while_the_store_is_read_is_no_hindrance(
    store: Store, records: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_after_saving(store: Store) -> Iterator[tuple[str, Record]]:
        save_run(store, "line-5", 5)
        yield from read_records(store)

    monkeypatch.setattr(garbage_module, "read_records", read_after_saving)
    assert "artifacts/runs/line-1" in find_garbage(store, Keep(last=1)).runs


def test_a_refused_collection_can_take_place_after_a_repair(store: Store, records: dict[str, list[str]]) -> None:
    (store.runs / "line-1" / "run.json").write_text("{")
    store.locate(records["line-2"][1]).write_text("{")
    age_all(store)
    repair_store(store, inspect_store(store))
    free(store)
    assert runs(store) == ["curve-1", "line-3"]
    require_clean(store)


def test_a_folder_that_is_named_like_an_artifact_stays(store: Store, records: dict[str, list[str]]) -> None:
    folder = store.root / "data/make" / f"table-{'0' * 64}.parquet"
    folder.mkdir()
    age_all(store)
    free(store)
    assert folder.is_dir()
