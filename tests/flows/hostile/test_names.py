"""Experiments whose names differ by little, or hold what files, keys and pages give a meaning: each keeps to itself."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.ui.pages import artifact_key
from tasks.caching.gc.inspection import inspect_store
from tasks.caching.records import last_ingredients
from tasks.caching.storage.store import Store
from tests.flows.conftest import STAGES

#: Each is another experiment, though some would be the same file, key or page if a letter of theirs did not count.
ALIKE = ["a.b", "a.c", "a-b", "A.b", "a.b.", "latest"]


@pytest.fixture
def trained_alike(store: Store, train: Callable[..., Any]) -> dict[str, Any]:
    """What came of training each of them, every one for as many epochs as it has letters."""
    return {name: train("line", {"name": name, "training": {"epochs": len(name) + 1}}) for name in ALIKE}


def test_experiments_with_names_alike_share_nothing_but_what_is_the_same(
    store: Store, trained_alike: dict[str, Any], plan: Callable[..., Any], train: Callable[..., Any], api: Any
) -> None:
    pages = [key for outcome in trained_alike.values() for key in api.artifacts(outcome.flow_run_id)]
    keys = [key for key in pages if not key.endswith("-training")]  # on a busy machine a training has its page too
    assert len(set(keys)) == len(keys) == 5 * len(ALIKE)
    assert len({outcome.run for outcome in trained_alike.values()}) == len(ALIKE)
    for name, outcome in trained_alike.items():
        changes = {"name": name, "training": {"epochs": len(name) + 1}}
        folder = (store.runs / f"{name}-latest").resolve()
        assert folder.name == outcome.run
        assert json.loads((folder / "run.json").read_bytes())["experiment"]["name"] == name
        assert {stage.status for stage in plan(store, "line", changes).values()} == {"reused"}
        ingredients = last_ingredients(name, "train", store)
        assert ingredients is not None
        assert ingredients["training.epochs"] == len(name) + 1
    assert (store.runs / "latest").resolve().name == trained_alike[ALIKE[-1]].run
    assert inspect_store(store).findings == []
    # What becomes of one is nothing to the others.
    assert train("line", {"name": "a.b", "training": {"epochs": 4}}, refresh=["all"]).ran == [*STAGES]
    others = {name: {"name": name, "training": {"epochs": len(name) + 1}} for name in ALIKE}
    assert all(plan(store, "line", changes)["save"].status == "reused" for changes in others.values())


@pytest.mark.parametrize("page", ["plan", "metrics", "plots"])
def test_no_two_experiments_have_a_key_of_a_page_in_common(page: str) -> None:
    names = [
        *ALIKE,
        "a_b",
        "a--b",
        "a",
        "a-",
        "a.",
        "run",
        "a-b-plan",
        "a-plan",
        "a-b-metrics",
        "Ω",
        "ω",
        "",
        "-",
        "--",
    ]
    assert len({artifact_key(name, page) for name in names}) == len(names)


def test_the_key_of_a_page_is_the_name_itself_where_prefect_allows_it() -> None:
    assert artifact_key("line-layers2", "plan") == "line-layers2-plan"


def test_a_name_may_be_as_long_as_it_is_allowed_to_be(
    store: Store, train: Callable[..., Any], command: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    path = tmp_path / f"{'n' * 64}.toml"
    path.write_text(f"checkpoint = '{'c' * 96}.pth'\n[training]\nepochs = 2\n")
    outcome = train(str(path))
    assert outcome.run.startswith("n" * 64)
    code, out, error = command("verify", "n" * 64 + "-latest", "--json")
    assert (code, error) == (0, "")
    assert Path(json.loads(out)["checkpoint"]).name == "c" * 96 + ".pth"
