"""A field that is left empty in the form of a training keeps the value of its deployment."""

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from flows.config.experiments import load_experiment
from tasks.caching.key import flatten
from tasks.caching.storage.store import Store
from tests.support.prefect_api import Api

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

#: Another value than the default, where that can be without contradicting the rest.
CHANGES = {"training": {"epochs": 500, "batch_size": 16, "seed": 7}, "data": {"weight": 1.5, "noise": 0.1}}

FIELDS = sorted(flatten(load_experiment("line").model_dump(mode="json")))


@pytest.fixture
def deployed() -> dict[str, Any]:
    """The parameters of a deployment."""
    experiment = load_experiment("line", CHANGES).model_dump(mode="json")
    return {"experiment": experiment, "if_running": "wait", "retries": 3}


@pytest.fixture
def ask(store: Store, api: Api, deployed: dict[str, Any]) -> Iterator[Any]:
    """Asks for a run of the deployment; the flow run, as the process that carries it out finds it."""
    from flows import orchestration

    flow = api.client.create_flow(orchestration.train)
    deployment = api.client.create_deployment(flow, "form", parameters=deployed)

    def run(experiment: dict[str, Any], **parameters: Any) -> "FlowRun":
        asked = {"experiment": experiment, "until": "generate"} | parameters
        created: UUID = api.client.create_flow_run_from_deployment(deployment, parameters=asked).id
        found: FlowRun = api.flow_run(created)
        return found

    yield run
    api.client.delete_deployment(deployment)


def without(experiment: dict[str, Any], field: str) -> dict[str, Any]:
    """An experiment from which a field, such as `training.epochs`, is missing."""
    left = copy.deepcopy(experiment)
    *sections, name = field.split(".")
    inner = left
    for section in sections:
        inner = inner[section]
    del inner[name]
    return left


@pytest.mark.usefixtures("prefect")
@pytest.mark.parametrize("field", FIELDS)
def test_every_field_keeps_what_the_deployment_has(field: str, deployed: dict[str, Any]) -> None:
    from flows.runtime.empty_fields import empty_fields, with_deployed

    asked = {"experiment": without(deployed["experiment"], field), "until": None}
    assert with_deployed(deployed, asked) == {"experiment": deployed["experiment"], "until": None}
    assert empty_fields(deployed, asked) == {field: flatten(deployed["experiment"])[field]}


def test_a_run_is_carried_out_so_and_says_it(ask: Any, deployed: dict[str, Any], api: Api) -> None:
    from flows import orchestration

    experiment = without(deployed["experiment"], "training.epochs")
    experiment["data"] = {"noise": 0.2}
    run = ask(experiment)
    assert orchestration.train.execute(run).is_completed()
    found = api.flow_run(run.id)
    complete = copy.deepcopy(deployed["experiment"])
    complete["data"]["noise"] = 0.2
    assert found.parameters["experiment"] == complete
    (reported,) = [line for line in api.log(run.id, "left empty") if "left empty" in line]
    assert "training.epochs 500" in reported
    assert "data.weight 1.5" in reported
    assert "data.noise" not in reported


def test_a_form_that_is_complete_is_taken_as_it_is(ask: Any, deployed: dict[str, Any], api: Api) -> None:
    from flows.runtime.empty_fields import fill_empty_fields

    experiment = deployed["experiment"] | {"training": deployed["experiment"]["training"] | {"batch_size": None}}
    run = ask(experiment)
    assert fill_empty_fields(run) == {}
    assert run.parameters["experiment"] == experiment


#: What each parameter may be by itself, and what is said of them together.
CONTRADICTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "fields": (
        {"experiment": {"data": {"end": -1.0}}},
        "experiment.data: end (-1) must be above start (0)",
    ),
    "stages": ({"refresh": ["save"], "until": "split"}, "refresh names save, which is not reached"),
    "device": ({"device": "cuda:7"}, "training.device: "),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_what_contradicts_itself_is_named_in_the_log_of_the_run(
    case: str, ask: Any, deployed: dict[str, Any], api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    """Each value is allowed by itself, so the form takes it; a field is left empty, too."""
    from flows import orchestration

    changes, sentence = CONTRADICTIONS[case]
    asked = without(deployed["experiment"], "training.epochs") | changes.get("experiment", {})
    run = ask(asked, **{name: value for name, value in changes.items() if name != "experiment"})
    state = orchestration.train.execute(run)
    assert state.is_failed()
    assert sentence in state.message
    lines = api.log(run.id, sentence)
    assert not [line for line in lines if "Traceback" in line]
    refusal = next(line for line in lines if sentence in line)
    assert "start another run, with others" in refusal
    if case == "fields":
        assert lines[0] == refusal
    assert "Failed to write result" not in caplog.text
