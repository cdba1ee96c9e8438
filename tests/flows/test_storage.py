"""Trouble with the disk in the middle of a run: one message, nothing half-written, and the next run makes it good."""

import errno
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tasks.caching.inspection import inspect_store
from tasks.caching.store import HashingSink, Store
from tests.flows.conftest import PROJECT, STAGES

Command = Callable[..., tuple[int, str, str]]

ERRORS = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.EFBIG)


@contextmanager
def failing_sync(number: int, code: int) -> Iterator[list[int]]:
    """Lets the sync of this number, and none after it, fail; yields the numbers that were reached."""
    reached: list[int] = []
    sync = os.fsync

    def count(descriptor: int) -> None:
        reached.append(len(reached) + 1)
        if reached[-1] == number:
            raise OSError(code, os.strerror(code))
        sync(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", count)
        yield reached


@contextmanager
def full_after(size: int) -> Iterator[None]:
    """Lets the disk be full after so many bytes."""
    write, written = HashingSink.write, 0

    def count(sink: HashingSink, data: Any) -> int:
        nonlocal written
        written += memoryview(data).nbytes
        if written > size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(sink, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HashingSink, "write", count)
        yield


def require_told_and_mended(told: tuple[int, str, str], code: int, store: Store, like: Path, command: Command) -> None:
    """The failure was told in one line, left nothing half-written, and the same command makes what it ought to."""
    status, _, error = told
    assert status == 1, error
    assert error.count("\n") == 1, error
    assert error.startswith("error: stage ")
    assert os.strerror(code) in error
    assert not list(store.root.rglob(".tmp-*"))
    assert inspect_store(store).problems == []
    status, _, error = command("train", "line")
    assert (status, error) == (0, "")
    assert artifacts(store.root) == artifacts(like)


def artifacts(root: Path) -> set[str]:
    """Every artifact, whose name tells its digest."""
    found = (path for top in ("data", "artifacts") for path in (root / top).glob("*/*-*.*"))
    return {str(path.relative_to(root)) for path in found if path.parent.name in STAGES}


@pytest.mark.parametrize("code", ERRORS, ids=lambda code: errno.errorcode[code])
@pytest.mark.parametrize("number", [1, 7, 29])
def test_an_error_of_the_disk(store: Store, first_home: Path, command: Command, number: int, code: int) -> None:
    with failing_sync(number, code):
        told = command("train", "line")
    require_told_and_mended(told, code, store, first_home, command)


@pytest.mark.long
def test_an_error_at_every_sync(store: Store, first_home: Path, command: Command) -> None:
    for number in range(1, 200):
        with failing_sync(number, errno.EIO) as reached:
            told = command("train", "line")
        if number > len(reached):
            assert told[0] == 0
            break
        # What only says which run was the last may fail after everything was done.
        if told[0] != 0:
            assert "Input/output error" in told[2]
        assert inspect_store(store).problems == [], f"sync {number}"
        assert command("train", "line")[0] == 0
        assert artifacts(store.root) == artifacts(first_home), f"sync {number}"
        shutil.rmtree(store.root)
    assert number > 40


@pytest.mark.parametrize("size", [0, 100, 3_000, 20_000, 100_000, 300_000])
def test_a_disk_that_fills_up(store: Store, first_home: Path, command: Command, size: int) -> None:
    with full_after(size):
        told = command("train", "line")
    require_told_and_mended(told, errno.ENOSPC, store, first_home, command)
    assert "`workflow collect`" in told[2]


def test_files_that_may_not_grow(
    store: Store, first_home: Path, workflow: Callable[..., Any], command: Command
) -> None:
    done = limited(resource.RLIMIT_FSIZE, 30_000, store, workflow)
    require_told_and_mended((done.returncode, done.stdout, done.stderr), errno.EFBIG, store, first_home, command)
    assert "ulimit -f" in done.stderr


def limited(limit: int, value: int, store: Store, workflow: Callable[..., Any]) -> Any:
    """A training in a process of its own with a limit of the system."""
    code = (
        "import resource, sys; from flows.cli import main\n"
        f"resource.setrlimit({limit}, ({value}, resource.RLIM_INFINITY)); main(['train', 'line'])"
    )
    return workflow(code=code, home=store.root)


def mounted(options: str, folder: Path, command: str) -> "subprocess.CompletedProcess[str]":
    """Runs a shell command where something else is mounted at a folder; skips if this machine cannot."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], check=False).returncode != 0:
        pytest.skip("`unshare -rm` does not work here: a namespace with a mount of its own is needed")
    script = f"mount {options} '{folder}' && {command}"
    return subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("-t tmpfs -o size=1m tmpfs", "Only 1.0 MB are free, and 17 are needed; free some space"),
        ("-t tmpfs -o ro tmpfs", "Read-only file system; make the folder writable"),
    ],
)
def test_what_cannot_be_written_is_told_before_anything_is_computed(
    store: Store, prefect: None, api_url: str, options: str, words: str
) -> None:
    folder = store.root / "data"
    folder.mkdir(parents=True)
    environment = f"PREFECT_API_URL={api_url} WORKFLOW_HOME='{store.root}' PYTHONPATH='{PROJECT}'"
    done = mounted(options, folder, f"{environment} '{sys.executable}' -m flows.cli train line")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: stage generate cannot begin: ")
    assert words in done.stderr
    assert "Completed" not in done.stdout
