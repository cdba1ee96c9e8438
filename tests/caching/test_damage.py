"""Every kind of file in a store, damaged in every way: an inspection names it, or nothing is lost by it.

What reads the files in earnest is tested where it is: flows/faults/test_damage.py.
"""

import json
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from tasks.caching.gc.inspection import inspect_store
from tasks.caching.records import read_record
from tasks.caching.runs.sums import SUMS
from tasks.caching.runs.verification import Check, write_verification
from tasks.caching.storage.stage_checkpoints import StageCheckpoints, whole_content
from tasks.caching.storage.store import Store
from tests.caching.conftest import save_run
from tests.support.file_damage import DAMAGES, FLIPS, flipped, put_back

#: One file of each kind. The record of the save of line-2 is gone: nothing but its list of digests vouches for it.
FILES = {
    "table": "data/make/table-*.parquet",
    "weights": "artifacts/train/weights-*.pth",
    "record": "artifacts/records/train/*.json",
    "last ingredients": "artifacts/records/last/line/train.json",
    "manifest": "artifacts/runs/line-2/run.json",
    "report": "artifacts/runs/line-2/report.html",
    "checkpoint": "artifacts/runs/line-2/line.pth",
    "list of digests": "artifacts/runs/line-2/SHA256SUMS",
    "verification": "artifacts/runs/line-2/verification.json",
    "stage checkpoint": "artifacts/states/train/*/*.pth",
}

#: Kinds of which none has to be there: nothing was made, verified or kept, then.
OPTIONAL = {"record", "last ingredients", "verification", "stage checkpoint"}


@pytest.fixture
def store(store: Store) -> Store:
    """A store with everything that flows leave in one."""
    save_run(store, "line-1", 1)
    (*_, save) = save_run(store, "line-2", 2)
    store.locate(save).unlink()
    write_verification(store.runs / "line-2", [Check("digests", True, "all well")], {"device": "cpu"})
    StageCheckpoints(store, "train", "a" * 64).keep(1, b"a stage checkpoint")
    assert inspect_store(store).findings == []
    return store


@pytest.fixture(params=FILES)
def kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


def file_of(store: Store, kind: str) -> Path:
    return next(store.root.glob(FILES[kind]))


def is_named(store: Store, path: Path) -> bool:
    """Whether an inspection, as a new process makes it, finds something wrong with a file, or with its run.

    Where a list and a file disagree, it takes the list for whole.
    """
    reported = {finding.path for finding in inspect_store(Store(store.root)).problems}
    if path.name == SUMS:
        reported |= {str(PurePosixPath(path).parent) for path in reported}
    return not reported.isdisjoint({str(store.relative(path)), str(store.relative(path.parent))})


def test_every_damage_is_named(store: Store, kind: str) -> None:
    path = file_of(store, kind)
    whole = path.read_bytes()
    for name, damage in DAMAGES.items():
        damage(path)
        assert is_named(store, path) == (name != "missing" or kind not in OPTIONAL), name
        put_back(path, whole)
    assert inspect_store(Store(store.root)).findings == []


@pytest.mark.parametrize("count", [FLIPS // 5, pytest.param(FLIPS, marks=pytest.mark.long)])
def test_every_flipped_bit_is_named_or_harmless(store: Store, kind: str, count: int) -> None:
    path = file_of(store, kind)
    whole = path.read_bytes()
    harmless = HARMLESS.get(kind, lambda path, whole: False)
    for bit, altered in flipped(whole, seed=88, count=count):
        path.write_bytes(altered)
        assert is_named(store, path) or harmless(path, whole), f"bit {bit}"
    put_back(path, whole)


def is_same_record(path: Path, whole: bytes) -> bool:
    """Whether only Prefect's envelope around a record was altered, which nothing reads for truth."""
    altered = read_record(path)
    path.write_bytes(whole)
    return altered == read_record(path)


def tells_the_same_outcome(path: Path, whole: bytes) -> bool:
    """Whether a verification still says whether it passed."""
    return json.loads(path.read_bytes()).get("passed", False) in (False, json.loads(whole)["passed"])


#: What may be altered unseen, and what must be so all the same.
HARMLESS: dict[str, Callable[[Path, bytes], bool]] = {
    "record": is_same_record,
    "last ingredients": lambda path, whole: True,  # they only tell what changed
    "verification": tells_the_same_outcome,
}


def test_no_damaged_stage_checkpoint_is_used(store: Store) -> None:
    path = file_of(store, "stage checkpoint")
    whole = path.read_bytes()
    assert whole_content(path) == whole
    for name, damage in DAMAGES.items():
        damage(path)
        assert whole_content(path) is None, name
        put_back(path, whole)
    for bit, altered in flipped(whole, seed=88):
        path.write_bytes(altered)
        assert whole_content(path) is None, f"bit {bit}"
