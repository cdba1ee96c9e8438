"""The inspection finds whatever is wrong with a store, and a repair leaves one that the next run can rebuild."""

import errno
import functools
import json
import os
import random
import shutil
import time
from pathlib import Path

import pytest

from tasks.caching.gc.inspection import IN_USE_SECONDS, Inspection, inspect_store
from tasks.caching.gc.repair import repair_store
from tasks.caching.gc.uses import store_in_use
from tasks.caching.key import stage_call
from tasks.caching.records import Record
from tasks.caching.runs.sums import SUMS, list_sums
from tasks.caching.runs.verification import VERIFICATION
from tasks.caching.stage import StageContext
from tasks.caching.storage.reference import Reference
from tasks.caching.storage.stage_checkpoints import StageCheckpoints
from tasks.caching.storage.store import Store
from tests.caching.conftest import NoConfig, fault_at, finish, make, of_another_version, save_run


@pytest.fixture
def table(store):
    return finish(store)


def age(path: Path) -> None:
    then = time.time() - IN_USE_SECONDS - 60
    os.utime(path, (then, then), follow_symlinks=False)


def kinds(inspection: Inspection) -> dict[str, str]:
    return {finding.path: finding.kind for finding in inspection.findings}


def test_an_empty_store_is_clean(store):
    assert inspect_store(store).findings == []


def test_a_store_as_a_run_left_it_is_clean(store, table):
    inspection = inspect_store(store)
    assert inspection.findings == []
    assert inspection.counts == {"records": 2, "artifacts": 2}


def everything(store):
    return sorted(path for path in store.root.rglob("*") if path.is_file() and path.suffix != ".lock")


def test_every_flipped_bit_is_found_and_repaired(store, table):
    draw = random.Random(88)
    paths = everything(store)
    assert len(paths) == 4
    for path in paths:
        whole = path.read_bytes()
        for _ in range(200):
            bit = draw.randrange(8 * len(whole))
            flipped = bytearray(whole)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            relative = str(path.relative_to(store.root))
            inspection = inspect_store(Store(store.root))
            if "records" in path.parts and is_harmless(whole, bytes(flipped)):
                continue
            assert any(finding.path == relative for finding in inspection.problems), f"{relative}, bit {bit}"
        path.write_bytes(whole)


def is_harmless(whole: bytes, flipped: bytes) -> bool:
    """Whether a flip changed only what nothing reads for truth: Prefect's envelope, or the last ingredients' texts."""
    try:
        before, after = json.loads(whole), json.loads(flipped)
    except ValueError:
        return False
    return "result" not in before or before["result"] == after.get("result")


DAMAGES = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "a link": lambda path: (path.rename(path.parent.parent / "aside"), path.symlink_to(path.parent.parent / "aside")),
    "a folder": lambda path: (path.unlink(), path.mkdir(), (path / "x").touch()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_artifact_is_set_aside_with_its_record(store, table, damage):
    DAMAGES[damage](store.locate(table.path))
    inspection = inspect_store(store)
    assert kinds(inspection)[table.path] == "damaged"
    assert [finding.path for finding in inspection.problems] == [table.path], "it is reported once"
    repair = repair_store(store, inspection)
    assert table.path in repair.set_aside
    assert repair.remaining.problems == []
    assert not list(store.records.glob("make/*.json"))
    assert finish(store) == table
    assert inspect_store(store).problems == []


@pytest.mark.parametrize("place", ["data/make", "artifacts/make", "artifacts/records/make"])
def test_a_link_in_the_place_of_a_folder_is_left_as_the_store_would_miss_what_it_leads_to(
    store, table, place, tmp_path
):
    folder = store.root / place
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    elsewhere = sorted(tmp_path.glob("elsewhere/*"))
    inspection = inspect_store(store)
    assert kinds(inspection) == {place: "linked"}
    repair = repair_store(store, inspection)
    assert (repair.set_aside, repair.removed, repair.remaining.findings) == ({}, [], inspection.findings)
    assert sorted(tmp_path.glob("elsewhere/*")) == elsewhere
    folder.unlink()
    (tmp_path / "elsewhere").rename(folder)
    assert inspect_store(store).findings == []
    assert finish(store) == table


def refuse_to_read(monkeypatch, refused: Path) -> None:
    """Lets the disk give an I/O error for a file, however it is opened."""
    opened = Path.open

    def fail(path: Path, *arguments, **options):
        if path == refused:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", fail)


@pytest.mark.parametrize("part", ["run.json", SUMS, "line.pth", "table", "train", "save"])
def test_what_the_disk_does_not_give_is_left_as_it_may_be_whole(store, table, monkeypatch, part):
    records = {path.split("/")[2]: path for path in save_run(store, "line-1", 1)}
    places = {"table": table.path, **records}
    path = store.locate(places.get(part, f"artifacts/runs/line-1/{part}"))
    before = everything(store)
    with monkeypatch.context() as patched:
        refuse_to_read(patched, path)
        inspection = inspect_store(Store(store.root))
        assert {finding.kind for finding in inspection.problems} == {"unreadable"}
        assert {os.strerror(errno.EIO) in finding.what for finding in inspection.problems} == {True}
        repair = repair_store(Store(store.root), inspection)
        assert (repair.set_aside, repair.removed) == ({}, [])
        assert repair.remaining.problems == inspection.problems
    assert everything(store) == before
    assert inspect_store(Store(store.root)).problems == []


LIST_DAMAGES = {
    "missing": lambda path: path.unlink(),
    "altered": lambda path: path.write_bytes(path.read_bytes().replace(b"line.pth", b"line.pti")),
    "another digest": lambda path: path.write_bytes(b"0" * 64 + path.read_bytes()[64:]),
    "empty": lambda path: path.write_bytes(b""),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", LIST_DAMAGES)
def test_a_list_of_digests_is_made_again_where_its_run_is_whole(store, damage):
    save_run(store, "line-1", 1)
    path = store.runs / "line-1" / SUMS
    before = path.read_bytes()
    LIST_DAMAGES[damage](path)
    inspection = inspect_store(store)
    assert {finding.path for finding in inspection.problems} == {f"artifacts/runs/line-1/{SUMS}"}
    repair = repair_store(store, inspection)
    assert repair.restored == [f"artifacts/runs/line-1/{SUMS}"]
    assert (repair.set_aside, repair.remaining.problems) == ({}, [])
    assert path.read_bytes() == before
    kept = list((store.artifacts / "set-aside").rglob(f"{SUMS}*"))
    assert len(kept) == (damage != "missing"), "nothing is ever lost, not even what was damaged"


def test_a_list_of_digests_is_not_made_again_where_its_run_is_not_whole(store):
    save_run(store, "line-1", 1)
    (store.runs / "line-1" / SUMS).unlink()
    (store.runs / "line-1" / "report.html").write_bytes(b"another")
    repair = repair_store(store, inspect_store(store))
    assert repair.restored == []
    assert "artifacts/runs/line-1" in repair.set_aside
    assert repair.remaining.problems == []


def test_what_is_set_aside_is_kept(store, table):
    store.locate(table.path).write_bytes(b"precious")
    repair = repair_store(store, inspect_store(store))
    place = repair.set_aside[table.path]
    assert (store.root / place / table.path).read_bytes() == b"precious"


def test_a_missing_artifact_takes_its_record_along(store, table):
    store.locate(table.path).unlink()
    inspection = inspect_store(store)
    assert kinds(inspection) == {table.path: "missing"}
    assert repair_store(store, inspection).remaining.problems == []
    assert not list(store.records.glob("make/*.json"))


def test_two_valid_artifacts_swapped_are_found(store, table):
    other = StageContext("make", store).publish("table.parquet", b"cells " * 40)
    first, second = store.locate(table.path), store.locate(other.path)
    (content, swapped) = first.read_bytes(), second.read_bytes()
    first.write_bytes(swapped)
    second.write_bytes(content)
    assert {table.path, other.path} <= {finding.path for finding in inspect_store(store).problems}


def test_a_record_under_another_key_is_found(store, table):
    (record,) = store.records.glob("make/*.json")
    record.rename(record.with_name("f" * 64 + ".json"))
    inspection = inspect_store(store)
    assert "another key" in inspection.problems[0].what


def test_a_run_under_the_name_of_another_is_found(store):
    """What its manifest vouches for lies in the other folder: nothing would look at its own files."""
    save_run(store, "line-1", 1)
    shutil.copytree(store.runs / "line-1", store.runs / "line-2")
    assert kinds(inspect_store(store)) == {"artifacts/runs/line-2": "damaged"}


def test_orphaned_and_foreign_files_are_reported_and_left(store, table):
    orphan = store.locate(StageContext("make", store).publish("table.parquet", b"more").path)
    (orphan.parent / "notes.txt").write_text("mine")
    assert kinds(inspect_store(store)) == {"data/make/notes.txt": "foreign"}
    age(orphan)
    inspection = inspect_store(store)
    assert sorted(kinds(inspection).values()) == ["foreign", "orphaned"]
    assert inspection.problems == []
    repair_store(store, inspection)
    assert orphan.exists()


def test_left_over_temporaries_are_removed_once_no_run_can_be_writing_them(store, table):
    temporary = store.locate(table.path).parent / ".tmp-0123"
    temporary.write_bytes(b"half")
    assert inspect_store(store).findings == []
    age(temporary)
    inspection = inspect_store(store)
    assert kinds(inspection) == {"data/make/.tmp-0123": "left over"}
    assert repair_store(store, inspection).removed == ["data/make/.tmp-0123"]
    assert not temporary.exists()


def test_a_left_over_link_goes_and_what_it_points_to_stays(store, table):
    link = store.locate(table.path).parent / ".tmp-0123"
    link.symlink_to(store.records)
    age(link)
    assert repair_store(store, inspect_store(store)).removed == ["data/make/.tmp-0123"]
    assert not link.is_symlink()
    assert inspect_store(store).counts["records"] == 2


def test_a_damaged_verification_is_set_aside_without_its_run(store):
    save_run(store, "line-1", 1)
    (store.runs / "line-1" / VERIFICATION).write_bytes(b"{")
    repair = repair_store(store, inspect_store(store))
    assert list(repair.set_aside) == ["artifacts/runs/line-1/verification.json"]
    assert repair.remaining.findings == []


def test_a_damaged_stage_checkpoint_is_found(store):
    StageCheckpoints(store, "train", "a" * 64).keep(1, b"state")
    assert inspect_store(store).findings == []
    (state,) = (store.artifacts / "states").rglob("*.pth")
    state.write_bytes(b"stale")
    assert kinds(inspect_store(store)) == {str(state.relative_to(store.root)): "damaged"}
    repair_store(store, inspect_store(store))
    assert not state.exists()


def test_what_changes_between_two_looks_is_no_finding(store, table, monkeypatch):
    """As when a running flow is just replacing a damaged artifact."""
    path = store.locate(table.path)
    whole = path.read_bytes()
    path.write_bytes(b"half")
    looked = []

    def heal():
        looked.append(1)
        if len(looked) == 4:  # after the last of the two records and the two artifacts
            path.write_bytes(whole)

    assert inspect_store(store, heal).problems == []


def test_set_aside_and_foreign_links_are_not_followed(store, table):
    (store.artifacts / "loop").symlink_to(store.artifacts)
    (store.artifacts / "set-aside").mkdir()
    (store.artifacts / "set-aside" / "x").write_text("x")
    assert kinds(inspect_store(store)) == {"artifacts/loop": "foreign"}


def test_what_another_version_made_is_reported_and_left(store, table):
    save_run(store, "line-1", 1)
    assert inspect_store(store).findings == []
    (record,) = (str(path.relative_to(store.root)) for path in store.records.glob("train/*.json"))
    for path in (record, "artifacts/runs/line-1"):
        of_another_version(store, path)
    before = {path: path.read_bytes() for path in everything(store)}
    inspection = inspect_store(store)
    # The record of the save has the digest of the manifest as this version wrote it.
    assert {finding.path: finding.kind for finding in inspection.findings if not finding.named_by} == {
        record: "foreign",
        "artifacts/runs/line-1": "foreign",
    }
    (store.root / next(finding.named_by for finding in inspection.problems)).unlink()
    (store.records / "last/line/save.json").unlink()
    repair = repair_store(store, inspect_store(store))
    assert (repair.set_aside, repair.remaining.problems) == ({}, [])
    assert before.items() >= {path: path.read_bytes() for path in everything(store)}.items()


@pytest.mark.parametrize("days", [-1, 1])
def test_a_clock_that_is_set_takes_nothing_from_a_flow_that_runs(store, table, monkeypatch, days):
    temporary = store.locate(table.path).parent / ".tmp-0123"
    orphan = store.locate(StageContext("make", store).publish("table.parquet", b"more").path)
    now = time.time()
    with store_in_use(store):
        temporary.write_bytes(b"half")
        orphan.touch()
        monkeypatch.setattr(time, "time", lambda: now + days * 24 * 3600)
        inspection = inspect_store(store)
        assert inspection.findings == []
        assert repair_store(store, inspection).removed == []
    assert temporary.exists()
    assert sorted(kinds(inspect_store(store)).values()) == (["left over", "orphaned"] if days > 0 else [])


def test_files_of_the_future_are_whole_like_any_other(store, table):
    then = time.time() + 24 * 3600
    for path in (*everything(store), *store.root.rglob("*")):
        os.utime(path, (then, then))
    assert inspect_store(store).findings == []
    assert store.path(table)


FOLDERS = {
    "artifact": "data/make/table-*.parquet",
    "record": "artifacts/records/make/*.json",
    "last ingredients": "artifacts/records/last/line/make.json",
}


@pytest.mark.parametrize("pattern", FOLDERS.values(), ids=FOLDERS)
def test_an_empty_folder_in_the_place_of_a_file_is_found_and_set_aside(store, table, pattern):
    path = next(store.root.glob(pattern))
    path.unlink()
    path.mkdir()
    inspection = inspect_store(Store(store.root))
    relative = str(path.relative_to(store.root))
    assert kinds(inspection)[relative] == "damaged"
    assert relative in repair_store(store, inspection).set_aside
    assert finish(store) == table
    assert inspect_store(store).problems == []


def test_what_names_files_outside_the_store_is_damaged_and_they_are_left_alone(store, table):
    (record,) = store.records.glob("make/*.json")
    (store.root / "flows").mkdir()
    (store.root / "flows/app.py").write_text("code")
    outside = Reference("flows/app.py", "0" * 64, 4, "py")
    call = stage_call(make, NoConfig(), {})
    altered = Record("make", call.key, call.ingredients, {"table": outside}, 0.5)
    record.write_text(json.dumps({"result": altered.to_json().decode()}))
    inspection = inspect_store(store)
    assert [finding.path for finding in inspection.problems] == [str(record.relative_to(store.root))]
    repair_store(store, inspection)
    assert (store.root / "flows/app.py").read_text() == "code"


@pytest.mark.parametrize(
    "path",
    [
        "artifacts",
        "artifacts/runs",
        "artifacts/runs/line-1",
        "artifacts/train",
        "artifacts/records/make",
        "artifacts/records/last/line/make.json",
        "artifacts/" + "n" * 150 + "/" + "n" * 199,
    ],
)
def test_a_run_that_names_what_is_no_artifact_is_damaged_and_nothing_else_is(store, table, path):
    save_run(store, "line-1", 1)
    save_run(store, "line-2", 2)
    put_reference(store, "line-2", {"path": path, "digest": "0" * 64, "size": 4, "kind": "json"})
    assert kinds(inspect_store(store)) == {"artifacts/runs/line-2": "damaged"}
    before = {path for path in everything(store) if "line-2" not in path.parts}
    repair = repair_store(store, inspect_store(store))
    assert set(repair.set_aside) == {"artifacts/runs/line-2"}
    assert before <= set(everything(store))


@pytest.mark.parametrize("change", [{"digest": "0" * 64}, {"size": 4}])
def test_an_artifact_that_vouches_for_itself_is_whole_whatever_a_run_says_of_it(store, table, change):
    save_run(store, "line-1", 1)
    put_reference(store, "line-1", table.to_json() | change)
    assert kinds(inspect_store(store)) == {"artifacts/runs/line-1": "damaged"}
    assert set(repair_store(store, inspect_store(store)).set_aside) == {"artifacts/runs/line-1"}
    assert store.path(table)


def put_reference(store, run, reference):
    """Has a run say, signed in its list of digests and without a record, that `make` made something else besides."""
    folder = store.runs / run
    manifest = json.loads((folder / "run.json").read_bytes())
    manifest["stages"][0]["outputs"]["more"] = reference
    (folder / "run.json").write_text(json.dumps(manifest))
    names = [line.split("  ")[1] for line in (folder / SUMS).read_text().splitlines()]
    (folder / SUMS).write_bytes(list_sums({name: (folder / name).read_bytes() for name in names}))
    for record in store.records.glob("save/*.json"):
        if f"runs/{run}/" in record.read_text():
            record.unlink()
            (store.records / "last/line/save.json").unlink(missing_ok=True)


@pytest.mark.parametrize(
    "folder", ["runs", "states", "history", "records", "records/last", "records/locks", "set-aside"]
)
def test_nothing_is_looked_at_or_moved_through_a_link_in_the_place_of_a_folder(store, table, tmp_path, folder):
    path, elsewhere = store.artifacts / folder, tmp_path / "elsewhere"
    (elsewhere / "mine").mkdir(parents=True)
    (elsewhere / "mine" / "notes.txt").write_text("mine")
    if path.exists():
        path.rename(tmp_path / "aside")
    path.symlink_to(elsewhere)
    assert kinds(inspect_store(store)) == {f"artifacts/{folder}": "linked"}
    assert repair_store(store, inspect_store(store)).set_aside == {}
    assert sorted(elsewhere.rglob("*")) == [elsewhere / "mine", elsewhere / "mine" / "notes.txt"]


@pytest.mark.parametrize("part", ["data", "records", "states"])
def test_nothing_is_damaged_where_no_file_can_be_opened(store, table, monkeypatch, part):
    """As with too few open files: reported as it is, before a repair sets everything aside."""
    StageCheckpoints(store, "train", "a" * 64).keep(1, b"state")

    def fail(path, *arguments, **options):
        if part in path.parts:
            raise OSError(errno.EMFILE, "Too many open files", str(path))
        return opened(path, *arguments, **options)

    opened = Path.open
    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(OSError, match="Too many open files"):
        inspect_store(Store(store.root))


#: What a repair does to the disk.
OPERATIONS = [(os, name) for name in ("mkdir", "replace", "fsync", "open", "scandir", "unlink", "rmdir")]


def test_another_repair_at_any_operation(tmp_path):
    """Whatever the other one was quicker with, both end well, and nothing is lost."""
    damaged = Store(tmp_path / "damaged")
    save_run(damaged, "line-1", 1)
    left_over = damaged.runs / ".tmp-1"
    (left_over / "plots").mkdir(parents=True)
    for name in ("run.json", "plots/a.svg"):
        (left_over / name).write_text("half")
    age(left_over / "run.json")
    age(left_over / "plots/a.svg")
    age(left_over)
    next(damaged.root.glob("artifacts/train/*")).write_bytes(b"precious")
    (damaged.runs / "line-1" / "line.pth").write_bytes(b"precious too")
    for number in range(1, 2000):
        store = Store(shutil.copytree(damaged.root, tmp_path / f"store-{number}"))
        found = inspect_store(store)
        another = functools.partial(repair_store, Store(store.root), found)
        with fault_at(number, another, OPERATIONS) as reached:
            repair_store(store, found)
        assert inspect_store(store).findings == [], f"operation {number}"
        kept = {path.read_bytes() for path in store.root.glob("artifacts/set-aside/**/*") if path.is_file()}
        assert {b"precious", b"precious too"} <= kept, f"operation {number}"
        if number > len(reached):
            break
    assert number > 40
