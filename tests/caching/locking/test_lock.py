import asyncio
import contextlib
import fcntl
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import pytest

from tasks.caching.code.sources import PROJECT
from tasks.caching.locking.lock import FlockManager, LockFile, locked_folder
from tests.caching.conftest import FORK, StartPython

KEY = "train/0123.json"

#: A process that takes the lock on KEY, says so, and gives it back when a line comes in or its input ends.
HOLD = f"""
import sys
from pathlib import Path
from tasks.caching.locking.lock import FlockManager
manager = FlockManager(Path(sys.argv[1]))
print(manager.acquire_lock("{KEY}", "another process", 0), flush=True)
sys.stdin.readline()
manager.release_lock("{KEY}", "another process")
print("released", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "records" / "locks"


@pytest.fixture
def manager(folder: Path) -> FlockManager:
    return FlockManager(folder)


@pytest.fixture
def other_process(folder: Path, start_python: Callable[..., Popen[str]]) -> Popen[str]:
    """A process that holds the lock."""
    process = start_python(HOLD, folder)
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    return process


def test_it_is_what_prefect_takes_for_a_lock_manager(manager: FlockManager) -> None:
    from prefect.locking.protocol import LockManager

    assert isinstance(manager, LockManager)


class TestOneProcess:
    def test_a_lock_has_one_holder_until_it_is_released(self, manager: FlockManager) -> None:
        assert not manager.is_locked(KEY)
        assert manager.acquire_lock(KEY, "one")
        assert manager.is_locked(KEY)
        assert manager.is_lock_holder(KEY, "one")
        assert not manager.is_lock_holder(KEY, "two")
        assert not manager.acquire_lock(KEY, "two", acquire_timeout=0)
        manager.release_lock(KEY, "one")
        assert not manager.is_locked(KEY)
        assert not manager.is_lock_holder(KEY, "one")
        assert manager.acquire_lock(KEY, "two", acquire_timeout=0)

    def test_a_holder_may_ask_again_and_releases_once(self, manager: FlockManager) -> None:
        assert manager.acquire_lock(KEY, "one")
        assert manager.acquire_lock(KEY, "one")
        manager.release_lock(KEY, "one")
        assert not manager.is_locked(KEY)

    def test_two_managers_of_one_folder_exclude_each_other(self, manager: FlockManager, folder: Path) -> None:
        other = FlockManager(folder)
        assert manager.acquire_lock(KEY, "one")
        assert other.is_locked(KEY)
        assert not other.is_lock_holder(KEY, "one")
        assert not other.acquire_lock(KEY, "one", acquire_timeout=0)

    def test_a_stranger_cannot_release_a_lock(self, manager: FlockManager) -> None:
        with pytest.raises(ValueError, match=f"one does not hold the lock on {KEY}"):
            manager.release_lock(KEY, "one")
        manager.acquire_lock(KEY, "one")
        with pytest.raises(ValueError, match=f"two does not hold the lock on {KEY}"):
            manager.release_lock(KEY, "two")
        assert manager.is_lock_holder(KEY, "one")
        assert manager.is_locked(KEY)

    def test_no_lock_stands_for_two_keys(self, manager: FlockManager) -> None:
        keys = [f"train/{number}.json" for number in range(200)]
        assert all(manager.acquire_lock(key, "one", acquire_timeout=0) for key in keys)
        for key in keys:
            manager.release_lock(key, "one")

    def test_a_lock_may_be_released_in_another_thread(self, manager: FlockManager) -> None:
        manager.acquire_lock(KEY, "one")
        thread = threading.Thread(target=manager.release_lock, args=(KEY, "one"))
        thread.start()
        thread.join()
        assert not manager.is_locked(KEY)

    def test_threads_take_turns(self, manager: FlockManager) -> None:
        inside: list[str] = []
        most: list[int] = []

        def work(holder: str) -> None:
            assert manager.acquire_lock(KEY, holder, acquire_timeout=10)
            inside.append(holder)
            most.append(len(inside))
            time.sleep(0.01)
            inside.remove(holder)
            manager.release_lock(KEY, holder)

        threads = [threading.Thread(target=work, args=(f"thread {number}",)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert most == [1] * 4

    @pytest.mark.parametrize(
        "other",
        [
            "train/0123",
            "train/0123.lock",
            "train/0123.json.lock",
            "train/0123.",
            "train/012",
            "train",
            "train_0123.json",
        ],
    )
    def test_keys_with_dots_or_a_common_beginning_do_not_collide(self, manager: FlockManager, other: str) -> None:
        manager.acquire_lock(KEY, "one")
        assert not manager.is_locked(other)
        assert manager.acquire_lock(other, "two", acquire_timeout=0)
        manager.release_lock(KEY, "one")
        assert manager.is_lock_holder(other, "two")

    @pytest.mark.parametrize("key", ["", "../../out", "/etc/lock", "a" * 5000, "ü\0\n"])
    def test_any_text_is_a_key_and_its_file_stays_in_the_folder(
        self, manager: FlockManager, folder: Path, key: str
    ) -> None:
        assert manager.acquire_lock(key, "one", acquire_timeout=0)
        assert [path.suffix for path in folder.iterdir()] == [".lock"]

    @pytest.mark.parametrize("content", [b"", b"\0" * 4096, b"12345\nanother machine\n", b"\xff", b"{"])
    def test_what_is_in_a_lock_file_means_nothing(self, manager: FlockManager, folder: Path, content: bytes) -> None:
        assert not manager.is_locked(KEY)
        (file,) = folder.iterdir()
        file.write_bytes(content)
        assert manager.acquire_lock(KEY, "one", acquire_timeout=0)
        file.write_bytes(content)
        assert not FlockManager(folder).acquire_lock(KEY, "two", acquire_timeout=0)
        manager.release_lock(KEY, "one")
        assert not manager.is_locked(KEY)

    def test_a_lock_whose_file_was_removed_while_it_was_waited_for_is_taken_on_the_new_file(
        self, manager: FlockManager, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As when the folder is emptied by hand: a lock on a file without a name excludes nobody."""
        acquire, files = LockFile.acquire, []

        def acquire_a_removed_file(file: LockFile, timeout: float | None = None) -> bool:
            if not files:
                next(folder.iterdir()).unlink()
            files.append(file)
            return acquire(file, timeout)

        with monkeypatch.context() as patch:
            patch.setattr(LockFile, "acquire", acquire_a_removed_file)
            assert manager.acquire_lock(KEY, "one", acquire_timeout=0)
        assert [file.is_open for file in files] == [False, True]
        assert not FlockManager(folder).acquire_lock(KEY, "two", acquire_timeout=0)

    def test_a_lock_that_is_a_link_is_not_followed(self, folder: Path, tmp_path: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "one.lock").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(OSError, match="symbolic links"):
            LockFile(folder / "one.lock")
        assert not (tmp_path / "elsewhere").exists()

    def test_waiting_for_a_free_lock_takes_no_time(self, manager: FlockManager) -> None:
        assert manager.wait_for_lock(KEY, timeout=0)
        assert manager.wait_for_lock(KEY)

    def test_waiting_ends_when_the_lock_is_released(self, manager: FlockManager) -> None:
        manager.acquire_lock(KEY, "one")
        timer = threading.Timer(0.05, manager.release_lock, args=(KEY, "one"))
        timer.start()
        assert manager.wait_for_lock(KEY, timeout=10)
        assert not manager.is_locked(KEY)
        timer.join()

    def test_asking_and_waiting_take_no_lock(self, manager: FlockManager) -> None:
        manager.wait_for_lock(KEY)
        manager.is_locked(KEY)
        assert manager.acquire_lock(KEY, "one", acquire_timeout=0)


class TestTwoProcesses:
    def test_a_lock_excludes_other_processes_until_it_is_released(
        self, manager: FlockManager, other_process: Popen[str]
    ) -> None:
        assert manager.is_locked(KEY)
        assert not manager.acquire_lock(KEY, "one", acquire_timeout=0)
        print(file=other_process.stdin, flush=True)
        assert manager.acquire_lock(KEY, "one", acquire_timeout=10)

    def test_a_lock_of_this_process_excludes_others(
        self, manager: FlockManager, folder: Path, start_python: Callable[..., Popen[str]]
    ) -> None:
        manager.acquire_lock(KEY, "one")
        process = start_python(HOLD, folder)
        assert process.stdout is not None
        assert process.stdout.readline() == "False\n"

    def test_a_holder_that_is_killed_frees_the_lock(self, manager: FlockManager, other_process: Popen[str]) -> None:
        other_process.send_signal(signal.SIGKILL)
        other_process.wait()
        assert not manager.is_locked(KEY)
        assert manager.acquire_lock(KEY, "one", acquire_timeout=0)

    def test_one_who_waits_gets_the_lock_of_a_holder_that_is_killed(
        self, manager: FlockManager, other_process: Popen[str]
    ) -> None:
        timer = threading.Timer(0.1, other_process.kill)
        timer.start()
        assert manager.acquire_lock(KEY, "one", acquire_timeout=10)
        timer.join()

    def test_a_child_that_outlives_the_holder_does_not_keep_the_lock(
        self, manager: FlockManager, folder: Path, start_python: StartPython
    ) -> None:
        holder = start_python(
            FORK + HOLD.replace("sys.stdin.readline()", "fork(); print('forked', flush=True); sys.stdin.read()"), folder
        )
        assert holder.stdout is not None
        assert (holder.stdout.readline(), holder.stdout.readline()) == ("True\n", "forked\n")
        assert not manager.acquire_lock(KEY, "one", acquire_timeout=0)
        holder.kill()
        holder.wait()
        assert manager.acquire_lock(KEY, "one", acquire_timeout=0)

    @pytest.mark.usefixtures("other_process")
    def test_waiting_gives_up_in_time(self, manager: FlockManager) -> None:
        started = time.monotonic()
        assert not manager.acquire_lock(KEY, "one", acquire_timeout=0.1)
        assert not manager.wait_for_lock(KEY, timeout=0.1)
        assert 0.2 <= time.monotonic() - started < 5
        assert not manager.is_lock_holder(KEY, "one")

    def test_the_asynchronous_variants_wait_without_blocking_the_loop(
        self, manager: FlockManager, other_process: Popen[str]
    ) -> None:
        async def work() -> list[bool]:
            assert not await manager.aacquire_lock(KEY, "one", acquire_timeout=0)
            assert not await manager.await_for_lock(KEY, timeout=0)
            waiting = asyncio.ensure_future(manager.await_for_lock(KEY, timeout=10))
            await asyncio.sleep(0.02)
            print(file=other_process.stdin, flush=True)  # reached only if the wait does not block the loop
            return [await waiting, await manager.aacquire_lock(KEY, "one", acquire_timeout=10)]

        assert asyncio.run(work()) == [True, True]
        assert manager.is_lock_holder(KEY, "one")
        manager.release_lock(KEY, "one")


#: A process that locks the folder in its first argument, shared if there is a second one, and says so.
HOLD_FOLDER = """
import sys
from pathlib import Path
from tasks.caching.locking.lock import locked_folder
with locked_folder(Path(sys.argv[1]), shared=len(sys.argv) > 2):
    print("locked", flush=True)
    sys.stdin.read()
"""


class TestFolders:
    @pytest.mark.parametrize("shared", [True, False])
    def test_a_shared_lock_admits_shared_ones_alone(
        self, tmp_path: Path, start_python: StartPython, shared: bool
    ) -> None:
        process = start_python(HOLD_FOLDER, tmp_path, *(["shared"] if shared else []))
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        with LockFile(tmp_path, os.O_RDONLY) as file:
            assert not file.acquire(timeout=0)
            operation = fcntl.LOCK_SH | fcntl.LOCK_NB
            with contextlib.nullcontext() if shared else pytest.raises(BlockingIOError):
                fcntl.flock(file.descriptor, operation)

    def test_a_forked_child_does_not_keep_a_folder_locked(self, tmp_path: Path, start_python: StartPython) -> None:
        process = start_python(FORK + HOLD_FOLDER.replace("    print(", "    fork(); print("), tmp_path)
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        process.kill()
        process.wait()
        with LockFile(tmp_path, os.O_RDONLY) as file:
            assert file.acquire(timeout=0)

    def test_a_folder_is_unlocked_at_the_end(self, tmp_path: Path) -> None:
        for _ in range(2):
            with locked_folder(tmp_path), LockFile(tmp_path, os.O_RDONLY) as file:
                assert not file.acquire(timeout=0)


def test_what_is_written_over_a_longer_text_ends_where_it_ends(tmp_path: Path) -> None:
    with LockFile(tmp_path / "file") as file:
        for content in (b"long", b"s", b""):
            file.overwrite(content)
            assert (tmp_path / "file").read_bytes() == file.read() == content


def test_every_lock_is_taken_in_one_module() -> None:
    """So that none is inherited by a child; a database, whose locks are not flock, is another thing."""
    modules = (path for package in ("flows", "tasks") for path in (PROJECT / package).rglob("*.py"))
    assert [path.name for path in modules if "fcntl.flock(" in path.read_text("utf-8")] == ["lock.py"]
