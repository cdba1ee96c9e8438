import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from tasks.caching.key import code_of
from tasks.caching.store import Store

PROJECT = Path(__file__).parents[2]

# The same examples each time, and none kept on disk: a test that passes here passes everywhere.
hypothesis.settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
hypothesis.settings.load_profile("repeatable")

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
