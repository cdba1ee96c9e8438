from collections.abc import Callable
from typing import Any

from flows.runs.comparison import compare_runs, side_by_side
from flows.runs.folders import find_run
from tasks.caching.storage.store import Store


def test_values_stand_in_the_order_of_the_columns_and_none_where_there_is_none() -> None:
    assert side_by_side([{"a": 1, "b": 2}, {"b": 3, "c": 4}]) == {"a": [1, None], "b": [2, 3], "c": [None, 4]}


def test_runs_are_compared_in_what_differs_and_in_every_metric(trained: Store, train: Callable[..., Any]) -> None:
    first = find_run("latest", trained)
    changes = {"split": {"validation": 0.1}, "training": {"epochs": 20}}
    other = find_run(train("line", changes).run, trained)
    comparison = compare_runs([first, other])
    assert comparison["runs"] == [first.manifest.run, other.manifest.run]
    assert comparison["configuration"] == {"split.validation": [0.0, 0.1], "training.epochs": [180, 20]}
    assert comparison["metrics"]["validation.mae"][0] is None
    assert comparison["metrics"]["test.mae"] == [first.metrics["test"]["mae"], other.metrics["test"]["mae"]]


def test_a_run_differs_in_nothing_from_itself(trained: Store) -> None:
    run = find_run("latest", trained)
    assert compare_runs([run, run])["configuration"] == {}
