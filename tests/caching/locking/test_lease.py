"""A lease is found held while its holder lives, and free once the holder is dead, however it died."""

import errno
import fcntl
import os
import signal
import stat
from pathlib import Path

import pytest

from tasks.caching.locking.lease import acquire_lease, expired
from tests.caching.conftest import FORK, StartPython

HOLD = (
    "import sys, pathlib; from tasks.caching.locking.lease import acquire_lease\n"
    "acquire_lease(pathlib.Path(sys.argv[1]), b'mine'); print('held', flush=True); sys.stdin.read()"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "leases" / "one.lease"


def test_a_lease_is_held_until_it_is_released(path: Path) -> None:
    lease = acquire_lease(path, b"mine")
    lease.write(b" alone")
    assert path.read_bytes() == b"mine alone"
    with expired(path) as is_expired:
        assert not is_expired
    lease.release()
    with expired(path) as is_expired:
        assert is_expired


def test_a_lease_that_ended_leaves_nothing_and_ends_once(path: Path) -> None:
    lease = acquire_lease(path)
    lease.end()
    assert list(path.parent.iterdir()) == []
    other = acquire_lease(path)
    lease.end()
    lease.release()
    assert other.is_held
    assert path.exists()
    other.end()


def test_a_lease_is_held_under_its_new_name(path: Path) -> None:
    lease, renamed = acquire_lease(path), path.with_name("other.lease")
    lease.rename(renamed)
    assert (lease.path, list(path.parent.iterdir())) == (renamed, [renamed])
    with expired(renamed) as is_expired:
        assert not is_expired
    lease.end()
    assert list(path.parent.iterdir()) == []


def test_nothing_but_the_lease_stays_in_the_folder(path: Path) -> None:
    acquire_lease(path).release()
    assert list(path.parent.iterdir()) == [path]


def test_no_other_user_may_open_a_lease_and_so_hold_it_for_ever(path: Path) -> None:
    umask = os.umask(0)
    try:
        acquire_lease(path).release()
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_lease_that_is_gone_has_no_holder(path: Path) -> None:
    with expired(path) as is_expired:
        assert not is_expired


def test_only_one_takes_a_lease_over(path: Path) -> None:
    acquire_lease(path).release()
    with expired(path) as first, expired(path) as second:
        assert (first, second) == (True, False)


@pytest.mark.parametrize("operation", ["replace", "unlink"])
def test_a_lease_is_locked_for_as_long_as_it_has_its_name(
    path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """When it gets its name, and when it loses it: another process may look just then."""
    found_expired: list[bool] = []
    operate = getattr(os, operation)

    def look(file: Path, *others: Path) -> None:
        with expired(file) as is_expired:
            found_expired.append(is_expired)
        operate(file, *others)

    with monkeypatch.context() as patch:
        patch.setattr(os, operation, look)
        lease = acquire_lease(path, b"mine")
        lease.end()
    assert found_expired
    assert not any(found_expired)


def test_a_lease_that_ends_while_it_is_looked_at_is_not_expired(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lease, lock = acquire_lease(path), fcntl.flock

    def end_before(descriptor: int, operation: int) -> None:
        lease.end()
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", end_before)
    with expired(path) as is_expired:
        assert not is_expired


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_the_lease_of_a_process_that_was_killed_is_free(path: Path, start_python: StartPython, end: int) -> None:
    process = start_python(HOLD, path)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with expired(path) as is_expired:
        assert not is_expired
    process.send_signal(end)
    process.wait()
    with expired(path) as is_expired:
        assert is_expired


@pytest.mark.parametrize(
    "beget",
    ["fork()", "import subprocess; subprocess.Popen(['sleep', '5'], close_fds=False)"],
    ids=["child", "program"],
)
def test_what_the_holder_begot_does_not_inherit_it(path: Path, start_python: StartPython, beget: str) -> None:
    process = start_python(FORK + HOLD.replace("print(", f"{beget}; print("), path)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    process.kill()
    process.wait()
    with expired(path) as is_expired:
        assert is_expired


def test_a_child_neither_holds_nor_ends_what_its_parent_holds(path: Path) -> None:
    lease = acquire_lease(path)
    child = os.fork()
    if child == 0:
        held = lease.is_held
        lease.end()
        os._exit(held)
    _, status = os.waitpid(child, 0)
    assert status == 0
    assert path.exists()
    lease.end()


@pytest.mark.parametrize("operation", ["write", "replace"])
def test_a_lease_that_cannot_be_made_leaves_nothing_and_names_its_folder(
    path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = set(Path("/proc/self/fd").iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(os, operation, fail)
        with pytest.raises(OSError, match="No space left") as error:
            acquire_lease(path, b"mine")
    assert error.value.filename == str(path.parent)
    assert list(path.parent.iterdir()) == []
    assert set(Path("/proc/self/fd").iterdir()) == before, "the descriptor is closed"
