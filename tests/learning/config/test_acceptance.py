"""The quality gate: which bounds a run misses, and what an experiment may demand."""

import math
from typing import Any

import pytest
from pydantic import ValidationError

from tasks.learning.config.acceptance import BOUNDS, Accept, shortfalls

GOOD = {"r2": 0.95, "loss": 0.01, "mae": 0.02, "rmse": 0.03, "largest_error": 0.1}


def test_without_a_bound_anything_will_do() -> None:
    assert shortfalls(Accept(), {"r2": -37.6}) == ()
    assert not Accept().demands


@pytest.mark.parametrize(("field", "metric"), [(field, metric) for field, (metric, _) in BOUNDS.items()])
def test_a_value_at_its_bound_passes_and_the_next_one_does_not(field: str, metric: str) -> None:
    bound = GOOD[metric]
    worse = math.nextafter(bound, -math.inf if field == "min_r2" else math.inf)
    accept = Accept.model_validate({field: bound})
    assert shortfalls(accept, GOOD) == ()
    (found,) = shortfalls(accept, GOOD | {metric: worse})
    assert found.startswith(f"{metric} {worse!r} is ")
    assert found.endswith(f"accept.{field} {bound}")


def test_all_that_are_missed_are_named() -> None:
    accept = Accept(min_r2=0.99, max_mae=0.01, max_rmse=0.03)
    assert shortfalls(accept, GOOD) == (
        "r2 0.95 is below accept.min_r2 0.99",
        "mae 0.02 is above accept.max_mae 0.01",
    )


@pytest.mark.parametrize("test", [{}, {"r2": None}])
def test_an_undefined_metric_passes_no_bound(test: dict[str, Any]) -> None:
    assert shortfalls(Accept(min_r2=-5.0), test) == ("r2 has no value, and accept.min_r2 is -5",)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"min_r2": 1.1}, "min_r2"),
        ({"max_mae": -0.1}, "max_mae"),
        ({"max_loss": math.nan}, "max_loss"),
        ({"r2": 0.9}, "r2"),
        ({"allow_drift": 0}, "allow_drift"),
    ],
)
def test_what_no_run_could_reach_is_refused(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        Accept.model_validate(fields)


@pytest.mark.parametrize("accept", [Accept(min_r2=0.5), Accept(allow_drift=False)])
def test_what_demands_something(accept: Accept) -> None:
    assert accept.demands
