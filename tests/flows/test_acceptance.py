"""A run that misses what its experiment demands is kept, can be verified, and is not accepted."""

import html
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.caching.storage.store import Store
from tests.support.prefect_api import Api

Command = Callable[..., tuple[int, str, str]]

MISSED = "is below accept.min_r2 0.9"


@pytest.fixture
def file(tmp_path: Path) -> str:
    """An experiment that learns nothing in its two epochs, and demands a lot."""
    path = tmp_path / "hasty.toml"
    path.write_text("[training]\nepochs = 2\n[accept]\nmin_r2 = 0.9\n")
    return str(path)


def test_it_is_kept_and_verified_and_everything_says_so(store: Store, command: Command, file: str, api: Api) -> None:
    code, out, _ = command("train", file, "--verify")
    assert code == 0
    (line,) = (line for line in out.splitlines() if line.startswith("accepted"))
    assert line.endswith(MISSED)
    shown = json.loads(command("show", "hasty-latest", "--json")[1])
    assert (shown["verified"], len(shown["rejections"])) == (True, 1)
    assert shown["manifest"]["experiment"]["accept"]["min_r2"] == 0.9
    assert MISSED in command("show", "hasty-latest")[1]
    out = command("history", "hasty")[1]
    assert f"{shown['run']}  not accepted: r2 " in out
    page = api.client.request("GET", "/artifacts/{key}/latest", path_params={"key": "hasty-report"}).json()
    assert html.unescape(page["description"]).replace("\\", "").endswith(MISSED)


def test_another_bound_saves_the_run_again_and_trains_nothing(store: Store, command: Command, file: str) -> None:
    assert command("train", file, "--fail-on-rejection")[0] == 1
    code, out, _ = command("train", file, "--accept.min-r2", "-1000", "--fail-on-rejection")
    assert code == 0
    assert "accepted    yes\n" in out
    statuses = dict(line.split()[:2] for line in out.splitlines() if line.startswith("  "))
    assert statuses["train"] == statuses["plot"] == "Cached"
    assert statuses["save"] == "Completed"


def test_without_a_demand_nothing_is_said(trained: Store, command: Command) -> None:
    code, out, _ = command("train", "line", "--fail-on-rejection")
    assert (code, "accepted" in out) == (0, False)
    assert json.loads(command("show", "--json")[1])["rejections"] is None
    assert "accepted" not in command("show")[1].split("Configuration")[0]


def test_a_bound_that_is_none_is_refused(store: Store, command: Command, file: str) -> None:
    Path(file).write_text("[accept]\nmin_r2 = 2.0\nr2 = 0.9\n")
    code, _, error = command("train", file)
    assert code == 2
    assert "accept.min_r2: input should be less than or equal to 1" in error
    assert "accept.r2: unknown field" in error


def test_its_log_warns_of_it_once(store: Store, train: Any, api: Api) -> None:
    first = train(changes={"accept": {"min_r2": 0.99}, "training": {"epochs": 2}})
    again = train(changes={"accept": {"min_r2": 0.99}, "training": {"epochs": 2}})
    assert any("the run is not accepted: r2 " in line for line in api.log(first.flow_run_id, "not accepted"))
    api.log(again.flow_run_id, "Finished in state")
    assert not any("not accepted" in line for line in api.log_now(again.flow_run_id))
