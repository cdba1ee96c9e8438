"""A claim is found held while its holder lives, and free once the holder is dead, however it died."""

import errno
import fcntl
import os
import signal
import stat
from pathlib import Path

import pytest

from tasks.caching.locking.claims import hold, taken_over
from tests.caching.conftest import FORK, StartPython

HOLD = (
    "import sys, pathlib; from tasks.caching.locking.claims import hold\n"
    "hold(pathlib.Path(sys.argv[1]), b'mine'); print('held', flush=True); sys.stdin.read()"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "claims" / "one.claim"


def test_a_claim_is_held_until_it_is_let_go(path: Path) -> None:
    claim = hold(path, b"mine")
    claim.write(b" alone")
    assert path.read_bytes() == b"mine alone"
    with taken_over(path) as is_dead:
        assert not is_dead
    claim.let_go()
    with taken_over(path) as is_dead:
        assert is_dead


def test_a_claim_that_ended_leaves_nothing_and_ends_once(path: Path) -> None:
    claim = hold(path)
    claim.end()
    assert list(path.parent.iterdir()) == []
    other = hold(path)
    claim.end()
    claim.let_go()
    assert other.held
    assert path.exists()
    other.end()


def test_a_claim_is_held_under_its_new_name(path: Path) -> None:
    claim, renamed = hold(path), path.with_name("other.claim")
    claim.rename(renamed)
    assert (claim.path, list(path.parent.iterdir())) == (renamed, [renamed])
    with taken_over(renamed) as is_dead:
        assert not is_dead
    claim.end()
    assert list(path.parent.iterdir()) == []


def test_nothing_but_the_claim_stays_in_the_folder(path: Path) -> None:
    hold(path).let_go()
    assert list(path.parent.iterdir()) == [path]


def test_nobody_else_may_open_a_claim_and_so_hold_it_for_ever(path: Path) -> None:
    umask = os.umask(0)
    try:
        hold(path).let_go()
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_claim_that_is_gone_is_of_nobody(path: Path) -> None:
    with taken_over(path) as is_dead:
        assert not is_dead


def test_only_one_takes_a_claim_over(path: Path) -> None:
    hold(path).let_go()
    with taken_over(path) as first, taken_over(path) as second:
        assert (first, second) == (True, False)


@pytest.mark.parametrize("operation", ["replace", "unlink"])
def test_a_claim_is_locked_for_as_long_as_it_has_its_name(
    path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """When it gets its name, and when it loses it: another process may look just then."""
    found_free: list[bool] = []
    operate = getattr(os, operation)

    def look(file: Path, *others: Path) -> None:
        with taken_over(file) as is_dead:
            found_free.append(is_dead)
        operate(file, *others)

    with monkeypatch.context() as patch:
        patch.setattr(os, operation, look)
        claim = hold(path, b"mine")
        claim.end()
    assert found_free
    assert not any(found_free)


def test_a_claim_that_ends_while_it_is_looked_at_is_not_taken_over(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claim, lock = hold(path), fcntl.flock

    def end_before(descriptor: int, operation: int) -> None:
        claim.end()
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", end_before)
    with taken_over(path) as is_dead:
        assert not is_dead


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_the_claim_of_a_process_that_was_killed_is_free(path: Path, start_python: StartPython, end: int) -> None:
    process = start_python(HOLD, path)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with taken_over(path) as is_dead:
        assert not is_dead
    process.send_signal(end)
    process.wait()
    with taken_over(path) as is_dead:
        assert is_dead


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
    with taken_over(path) as is_dead:
        assert is_dead


def test_a_child_neither_holds_nor_ends_what_its_parent_holds(path: Path) -> None:
    claim = hold(path)
    child = os.fork()
    if child == 0:
        held = claim.held
        claim.end()
        os._exit(held)
    _, status = os.waitpid(child, 0)
    assert status == 0
    assert path.exists()
    claim.end()


@pytest.mark.parametrize("operation", ["write", "replace"])
def test_a_claim_that_cannot_be_made_leaves_nothing_and_names_its_folder(
    path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = set(Path("/proc/self/fd").iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(os, operation, fail)
        with pytest.raises(OSError, match="No space left") as error:
            hold(path, b"mine")
    assert error.value.filename == str(path.parent)
    assert list(path.parent.iterdir()) == []
    assert set(Path("/proc/self/fd").iterdir()) == before, "the descriptor is closed"
