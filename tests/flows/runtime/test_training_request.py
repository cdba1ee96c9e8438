"""A training is settled once and planned once, and planned again where the plan may be stale."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flows import planning
from flows.config import experiments
from tasks.caching.observer import Observer, extra_observers
from tasks.caching.storage.store import Store

pytestmark = pytest.mark.usefixtures("prefect")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the functions that a flow run calls to settle and to plan, in order."""
    from flows.runtime import training_request

    calls: list[str] = []

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            calls.append(function.__name__)
            return function(*arguments)

        return call

    for function in (experiments.settle, planning.plan_training):
        monkeypatch.setattr(training_request, function.__name__, counted(function))
    return calls


def test_a_training_is_settled_and_planned_once(store: Store, train: Callable[..., Any], calls: list[str]) -> None:
    train(until="generate")
    assert calls == ["settle", "plan_training"]
    train(until="generate")
    assert calls == ["settle", "plan_training"] * 2


def test_a_training_that_has_waited_is_planned_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows import orchestration

    plans: list[dict[str, str]] = []
    one_at_a_time = orchestration.one_at_a_time

    class Plans(Observer):
        def on_plan(self, plan: Any) -> None:
            plans.append({decision.stage: decision.status for decision in plan})

    @contextlib.contextmanager
    def wait_for_another(*arguments: Any) -> Iterator[bool]:
        monkeypatch.setattr(orchestration, "one_at_a_time", one_at_a_time)
        # In a context of its own, as a process of its own has one.
        contextvars.copy_context().run(orchestration.train, experiments.load_experiment("line"), [], "generate")
        token = extra_observers.set((Plans(),))
        yield True
        extra_observers.reset(token)

    monkeypatch.setattr(orchestration, "one_at_a_time", wait_for_another)
    orchestration.train(experiments.load_experiment("line"), [], "generate")
    assert plans[0]["generate"] == "reused"
