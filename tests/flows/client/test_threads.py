"""A process with little memory ends with one message, and so does one in which one of Prefect's threads dies."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.caching.gc.inspection import inspect_store
from tasks.caching.storage.store import Store
from tests.flows.conftest import PROJECT
from tests.support.serving_project import Finish

#: Makes one of Prefect's threads fail while the main thread waits for it.
DYING = """
import os, sys
sys.path.insert(0, {project!r})
os.environ["PREFECT_HOME"] = {home!r}
os.environ["PREFECT_API_URL"] = "http://127.0.0.1:9/api"
os.environ["PREFECT_LOGGING_HANDLERS_DEBUG_LEVEL"] = os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
import asyncio, concurrent.futures, threading
from prefect._internal.concurrency.threads import WorkerThread, get_global_loop, get_run_sync_loop
from prefect.utilities.asyncutils import run_coro_as_sync
import flows.runtime.connection

def die(*ignored):
    raise MemoryError

{happen}
print("nobody has noticed")
"""

#: The failures: a loop dies while a call waits for it; one does not start; one dies while idle; a worker dies.
HAPPEN = {
    "a loop that is waited for": """
async def wait():
    asyncio.get_running_loop()._run_once = die
    await asyncio.sleep(100)
run_coro_as_sync(wait())
""",
    "a loop that does not come up": """
asyncio.new_event_loop = asyncio.events.new_event_loop = asyncio.runners.events.new_event_loop = die
get_run_sync_loop()
""",
    "a loop that nobody waits for yet": """
loop = get_global_loop()
loop.loop._run_once = die
loop.loop.call_soon_threadsafe(int)
concurrent.futures.Future().result()
""",
    "a worker": """
worker = WorkerThread(daemon=True)
worker._queue.get = die
worker.start()
concurrent.futures.Future().result()
""",
    "a loop, at the end of the interpreter": """
loop = get_global_loop()
threading._register_atexit(lambda: asyncio.run_coroutine_threadsafe(asyncio.sleep(100), loop.loop).result())
loop.loop._run_once = die
sys.exit(0)
""",
}


@pytest.mark.parametrize("happen", HAPPEN.values(), ids=HAPPEN)
def test_a_dead_thread_ends_the_process(happen: str, tmp_path: Path) -> None:
    code = DYING.format(project=str(PROJECT), home=str(tmp_path), happen=happen)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: memory has run out, and a thread that Prefect needs has died of it.")
    assert done.stderr.count("\n") == 1


def test_a_thread_that_dies_of_another_error_ends_it_too(tmp_path: Path) -> None:
    happen = HAPPEN["a worker"].replace("worker._queue.get = die", "worker._queue.get = lambda: 1 / 0")
    code = DYING.format(project=str(PROJECT), home=str(tmp_path), happen=happen)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: a thread that Prefect needs has died. What is finished is kept")


def test_the_threads_of_a_flow_are_started_before_it(prefect: None) -> None:
    from prefect._internal.concurrency import threads

    from flows.runtime.connection import keeping_contact

    with keeping_contact(None):
        assert threads._global_loop is not None
        assert threads._run_sync_loop is not None
        assert threads._global_loop.thread.is_alive()
        assert threads._run_sync_loop.thread.is_alive()


Limited = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def limited(workflow: Finish, trained: Store) -> Limited:
    """Runs a command with limited memory in kilobytes, as with `ulimit -v`."""

    def run(kilobytes: int, *words: str) -> "subprocess.CompletedProcess[str]":
        code = (
            f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({kilobytes * 1024}, {kilobytes * 1024}))\n"
            "import sys; from flows.cli import main; main(sys.argv[1:])"
        )
        return workflow(*words, home=trained.root, code=code)

    return run


def require_end(done: "subprocess.CompletedProcess[str]", store: Store) -> None:
    """Checks that a command succeeded or ended with one message; a zombie run may be reported before.

    A C++ library that runs out of memory aborts the process with its own message.
    """
    if done.returncode == -signal.SIGABRT:
        assert "std::bad_alloc" in done.stderr, done
        assert inspect_store(store).problems == []
        return
    lines = [line for line in done.stderr.splitlines() if not line.startswith("An earlier run ended without")]
    assert done.returncode in (0, 1), done
    assert len(lines) == done.returncode, done
    assert inspect_store(store).findings == []


def test_a_verification_with_too_little_memory_says_so(limited: Limited, trained: Store) -> None:
    done = limited(1_000_000, "verify")
    require_end(done, trained)
    assert "stage reload failed: this process cannot allocate" in done.stderr
    assert done.stderr.endswith("free some, or raise the limit (`ulimit -v`), and run again\n")


def test_a_cached_run_needs_less(limited: Limited, trained: Store) -> None:
    assert limited(1_000_000, "train", "line").returncode == 0


@pytest.mark.long
@pytest.mark.parametrize("words", [("verify",), ("train", "line", "--refresh", "all")], ids=["verify", "train"])
@pytest.mark.parametrize("kilobytes", [*range(600_000, 2_000_000, 100_000), 3_000_000, 4_000_000])
def test_a_command_ends_with_any_memory_limit(
    limited: Limited, trained: Store, kilobytes: int, words: tuple[str, ...]
) -> None:
    require_end(limited(kilobytes, *words), trained)
