"""The names of flow runs say what changed, as briefly as a list can show it."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from flows.config.experiments import load_experiment
from tasks.caching.decision import FORCED, Decision
from tasks.caching.reasons import PlannedStatus, Reason, ReasonKind
from tasks.caching.storage.store import Store
from tests.support.prefect_api import Api

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

pytestmark = pytest.mark.usefixtures("prefect")


def decision(stage: str, status: PlannedStatus, *reasons: Reason) -> Decision:
    return Decision(stage, status, reasons)


def changed(*names: str) -> list[Reason]:
    """That settings changed."""
    return [Reason(ReasonKind.SETTING, name, 180, 60) for name in names]


REUSED = decision("generate", "reused", Reason(ReasonKind.UNCHANGED))
CHANGED = decision("train", "will run", *changed("training.epochs"))
TO_REFRESH = decision("evaluate", "will run", *FORCED)
WAITING = decision("plot", "depends", Reason(ReasonKind.DEPENDS, "train"))
FIRST = Reason(ReasonKind.FIRST_RUN, "line")


@pytest.mark.parametrize(
    ("plan", "name"),
    [
        ([REUSED], "nothing changed"),
        ([decision("generate", "will run", FIRST), CHANGED], "first run"),
        (
            [REUSED, CHANGED, decision("plot", "depends", Reason(ReasonKind.DEPENDS, "train"))],
            "training.epochs 180 → 60",
        ),
        ([decision("train", "will run", *changed("a", "b", "c"))], "a 180 → 60 and 2 more"),
        ([REUSED, TO_REFRESH], "evaluate forced"),
        ([REUSED, TO_REFRESH, decision("plot", "will run", *FORCED)], "evaluate, plot forced"),
        ([REUSED, CHANGED, TO_REFRESH], "training.epochs 180 → 60; evaluate forced"),
        ([decision("train", "not reached", Reason(ReasonKind.NOT_REACHED, "split"))], "nothing changed"),
    ],
)
def test_what_is_new(plan: list[Decision], name: str) -> None:
    from flows.runtime.run_names import what_is_new

    assert what_is_new(plan) == name


def test_a_long_name_is_cut() -> None:
    from flows.runtime.run_names import LONGEST, shortened

    assert shortened("a" * LONGEST) == "a" * LONGEST
    assert shortened("a" * (LONGEST + 1)) == "a" * (LONGEST - 1) + "…"


@pytest.fixture
def ask(store: Store, api: Api) -> Iterator[Callable[..., "FlowRun"]]:
    """Asks for a run of a deployment, under a name or, as Prefect does, under one that is made up."""
    from flows import orchestration

    parameters = {"experiment": load_experiment("line").model_dump(mode="json"), "until": "generate"}
    flow = api.client.create_flow(orchestration.train)
    deployment = api.client.create_deployment(flow, "named", parameters=parameters)
    yield lambda **options: api.client.create_flow_run_from_deployment(deployment, **options)
    api.client.delete_deployment(deployment)


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ({}, "line on cpu: first run"),
        ({"name": "alpha2-andromedae-void"}, "line on cpu: first run"),
        ({"name": "for Ada"}, "for Ada"),
        ({"name": "second-try"}, "second-try"),
        ({"name": "beta-test"}, "beta-test"),
    ],
)
def test_a_name_that_was_typed_is_kept(
    ask: Callable[..., "FlowRun"], api: Api, typed: dict[str, Any], name: str
) -> None:
    from flows import orchestration

    run = ask(**typed)
    orchestration.train.execute(run)
    assert api.flow_run(run.id).name == name


def test_a_retry_renames_nothing(ask: Callable[..., "FlowRun"], api: Api) -> None:
    from prefect.states import AwaitingRetry

    from flows import orchestration

    run = ask()
    orchestration.train.execute(run)
    api.client.set_flow_run_state(run.id, AwaitingRetry(), force=True)
    assert orchestration.train.execute(api.flow_run(run.id)).is_completed()
    assert api.flow_run(run.id).name == "line on cpu: first run"


def test_names_that_prefect_makes_up_are_known() -> None:
    from prefect.utilities.names import generate_slug

    from flows.runtime.run_names import form_stars, is_random

    assert all(is_random(generate_slug(2)) for _ in range(1000))
    assert len(form_stars()) > 1000
    assert all(map(is_random, ("beta-canis-majoris", "omega71-vega-a", "alpha6-vega")))
    assert not any(map(is_random, ("", "line", "alpha-run", "vega", "alpha-", "quick", "a-b-c", "quick-fox-2")))
