"""What others have written down keeps working: commands, the console script, and the entry points of deployments."""

import importlib
import re
import subprocess
import sys
import tomllib
from typing import Any

import pytest

from tests.flows.conftest import PROJECT

#: The entry points of deployments that exist on servers: as `workflow serve` makes them, and as prefect.yaml does.
ENTRY_POINTS = [
    "flows.orchestration.train",
    "flows.orchestration.verify",
    "flows/orchestration.py:train",
    "flows/orchestration.py:verify",
]


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_a_deployment_that_exists_finds_its_flow(
    prefect: None, monkeypatch: pytest.MonkeyPatch, entry_point: str
) -> None:
    from prefect.flows import load_flow_from_entrypoint

    monkeypatch.chdir(PROJECT)
    flow: Any = load_flow_from_entrypoint(entry_point)
    assert flow.name == re.split(r"[.:]", entry_point)[-1]
    assert callable(flow.execute), "a worker carries it out as ours, so that nothing of it is lost"


def test_a_deployment_that_exists_names_parameters_that_there_are(prefect: None) -> None:
    from flows import orchestration

    trained, verified = (set(flow.parameters.properties) for flow in (orchestration.train, orchestration.verify))
    names = {"experiment", "refresh", "until", "device", "notes", "if_running", "retries", "dated", "timezone"}
    assert names <= trained
    assert {"run", "device", "retries", "expect", "store"} <= verified


def test_the_command_of_a_work_pool_that_exists_is_a_module() -> None:
    assert callable(importlib.import_module("flows.executing").main)


@pytest.mark.parametrize("module", ["flows.train", "flows.verify", "flows.cli"])
def test_a_module_is_a_command(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"], capture_output=True, text=True, cwd=PROJECT, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"workflow{' ' + module.partition('.')[2] if module != 'flows.cli' else ''}" in done.stdout


def test_the_console_script_is_where_it_was() -> None:
    scripts = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"workflow": "flows.cli:main"}
    assert callable(importlib.import_module("flows.cli").main)
