import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from tasks.caching.key import code_of, order_stage
from tasks.caching.records import Record, record_name, remember_last
from tasks.caching.reference import Reference
from tasks.caching.stage import Desk, View, stage
from tasks.caching.store import Store, replace_file

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


class NoView(View):
    """Sees nothing."""


@stage(NoView, outputs=("table", "note"), libraries=())
def make(view, inputs, desk):
    return {"table": desk.publish("table.parquet", b"rows " * 40), "note": desk.publish("note.json", b'{"a": 1}')}


make.function.__module__ = "tasks.generate"


def finish(store: Store) -> Reference:
    """What a stage leaves that was carried out: its artifacts, its record, its last ingredients; gives the table."""
    order = order_stage(make, NoView(), {})
    outputs = make.function(order.view, {}, Desk("make", store))
    record = Record("make", order.key, order.ingredients, outputs, 0.5)
    envelope = json.dumps({"metadata": {}, "result": record.to_json().decode()}).encode()
    replace_file(store.records / record_name(order), envelope)
    remember_last("line", order, store)
    return outputs["table"]
