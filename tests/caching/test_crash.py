"""The store under faults that are counted: at the 1st, 2nd, 3rd … operation on the disk, until the work gets through.

As in SQLite's own tests of crashes and of I/O errors. Whatever the operation, afterwards (a) an inspection finds
nothing damaged or missing, (b) the fault was seen, (c) the same work without it gives the same bytes as work that
never had one, and (d) nothing half-written has a final name, or any name at all if the process lived to remove it.
"""

import errno
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.caching.gc.inspection import inspect_store
from tasks.caching.storage.durable import HashingSink, replace_link
from tasks.caching.storage.run_name import RunName
from tasks.caching.storage.stage_checkpoints import StageCheckpoints
from tasks.caching.storage.store import Store
from tests.caching.conftest import fault_at, finish

#: What the store does to the disk, by where it is found.
OPERATIONS = [(os, name) for name in ("fsync", "replace", "rename", "mkdir", "symlink")] + [(HashingSink, "write")]

#: Far more than the work below needs.
MOST = 200


def work(store: Store) -> None:
    """Everything that a run does to the store: artifacts, record, stage checkpoints, run folder and pointer."""
    checkpoints = StageCheckpoints(store, "make", "a" * 64)
    for step in (1, 2, 3):
        checkpoints.keep(step, b"state %d" % step)
    finish(store)
    checkpoints.clear()
    if not saved_run(store):
        with store.reserved_run(RunName("line", "1")) as run:
            store.publish_run(run, {"run.txt": b"run", "plots/a.svg": b"<svg/>"})
    replace_link(store.runs / "latest", saved_run(store))


def saved_run(store: Store) -> str:
    """The name of the run that was published; empty if none was."""
    published = (path.parent.name for path in store.runs.glob("line-*/run.txt"))
    return next(published, "")


def contents(store: Store) -> dict[str, bytes]:
    """Every file by name, but for temporaries; a run that found its name claimed by a dead one has another name.

    But for the notes that runs were saved, too: that of a run whose process died just then may be missing.
    """
    paths = (path for path in store.root.rglob("*") if path.is_file() and not is_temporary(path))
    paths = (path for path in paths if path.parent != store.saved)
    return {str(path.relative_to(store.root)).replace("line-1-2", "line-1"): path.read_bytes() for path in paths}


def is_temporary(path: Path) -> bool:
    return any(part.startswith(".tmp-") for part in path.parts)


@pytest.fixture
def unharmed(tmp_path: Path) -> dict[str, bytes]:
    store = Store(tmp_path / "unharmed")
    work(store)
    return contents(store)


def stores(tmp_path: Path) -> Iterator[tuple[int, Store]]:
    for number in range(1, MOST):
        yield number, Store(tmp_path / f"store-{number}")
    raise AssertionError(f"the work did not get through in {MOST} operations")


def require_sound(store: Store, number: int) -> None:
    """Nothing is damaged; a run folder without a manifest is what this test's run is."""
    problems = [finding for finding in inspect_store(store).problems if not finding.path.startswith("artifacts/runs")]
    assert problems == [], f"operation {number}"


def test_killed_at_every_operation(tmp_path: Path, unharmed: dict[str, bytes]) -> None:
    for number, store in stores(tmp_path):
        child = os.fork()
        if child == 0:
            with fault_at(number, lambda: os.kill(os.getpid(), signal.SIGKILL), OPERATIONS):
                work(store)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        require_sound(store, number)
        if not os.WIFSIGNALED(status):
            assert os.WEXITSTATUS(status) == 0
            break
        work(store)
        assert contents(store) == unharmed, f"operation {number}"
    assert number > 40


ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EMFILE, errno.EDQUOT)


@pytest.mark.parametrize(
    "code",
    [pytest.param(code, marks=() if code == errno.EIO else pytest.mark.long) for code in ERRORS],
    ids=lambda code: errno.errorcode[code],
)
def test_an_error_at_every_operation(tmp_path: Path, unharmed: dict[str, bytes], code: int) -> None:
    def fail() -> None:
        raise OSError(code, os.strerror(code))

    for number, store in stores(tmp_path):
        with fault_at(number, fail, OPERATIONS) as reached:
            try:
                work(store)
                seen = False
            except OSError as error:
                seen = error.errno == code
        require_sound(store, number)
        assert not [path for path in store.root.rglob("*") if is_temporary(path)], f"operation {number}"
        if number > len(reached):
            assert not seen
            break
        # A folder that cannot be made because it is there already is no failure.
        assert seen or contents(store) == unharmed, f"operation {number} failed unseen"
        work(store)
        assert contents(store) == unharmed, f"operation {number}"
    assert number > 40
