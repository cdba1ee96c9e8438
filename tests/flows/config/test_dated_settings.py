"""Seeds that follow the date, and stages that each scheduled run computes."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

from flows.config.dated_settings import date_number, with_dates
from flows.config.experiments import load_experiment
from flows.config.schedule import Schedule, next_moments, to_prefect
from flows.deploy.deployments import DeployedExperiment, make_deployments, to_yaml
from flows.errors import InputError
from tasks.caching.records import read_record
from tasks.caching.storage.store import Store
from tests.support.prefect_api import Api

NIGHT = datetime(2026, 11, 27, 2, 30, tzinfo=UTC)
SCHEDULE = Schedule(
    cron="30 3 * * *", timezone="Europe/Berlin", refresh=["split"], dated=["data.seed", "training.seed"]
)


def test_seeds_are_the_date_on_which_the_run_was_due() -> None:
    line = load_experiment("line")
    dated = with_dates(line, ["data.seed", "training.seed"], NIGHT)
    assert (dated.data.seed, dated.training.seed) == (20261127, 20261127)
    assert dated.split.seed == line.split.seed
    assert with_dates(line, [], NIGHT) == line


def test_a_table_has_no_seed_that_could_follow_the_date() -> None:
    changes = {"data": {"kind": "table", "path": "houses.csv", "target": "price"}}
    table = load_experiment("line", changes)
    with pytest.raises(InputError, match=r"data\.seed cannot follow the date: data\.kind table has no seed"):
        with_dates(table, ["data.seed"], NIGHT)
    assert with_dates(table, ["split.seed"], NIGHT).split.seed == 20261127


def test_the_date_is_that_in_utc() -> None:
    early = datetime(2026, 11, 28, 0, 30, tzinfo=timezone(timedelta(hours=1)))
    assert with_dates(load_experiment("line"), ["data.seed"], early).data.seed == 20261127
    today = datetime.now(UTC).date()
    assert with_dates(load_experiment("line"), ["data.seed"], None).data.seed in {
        date_number(today),
        date_number(today + timedelta(days=1)),
    }


def test_a_daily_run_has_a_new_date_every_day_where_the_clocks_change() -> None:
    schedule = Schedule(cron="30 1 * * *", timezone="Europe/Berlin", dated=["data.seed"])
    for month in (3, 10):
        nights = next_moments(schedule, datetime(2026, month, 20, tzinfo=UTC), 14)
        line = load_experiment("line")
        seeds = [with_dates(line, ["data.seed"], night, "Europe/Berlin").data.seed for night in nights]
        assert len(set(seeds)) == 14
        in_utc = [with_dates(line, ["data.seed"], night).data.seed for night in nights]
        assert (len(set(in_utc)) == 14) is (month == 10), "what would happen in UTC"


def test_they_are_parameters_of_scheduled_runs_alone() -> None:
    wanted = {"refresh": ["split"], "dated": ["data.seed", "training.seed"], "timezone": "Europe/Berlin"}
    offer = DeployedExperiment(load_experiment("line"), SCHEDULE)
    assert to_prefect(SCHEDULE).parameters == wanted
    assert to_prefect(Schedule(cron="30 3 * * *")).parameters == {}
    assert not wanted.keys() & offer.parameters.keys()
    from ruamel.yaml import YAML

    (schedule,) = YAML(typ="safe").load(to_yaml([offer]))["deployments"][0]["schedules"]
    assert schedule["parameters"] == wanted


async def made(schedule: Schedule) -> Any:
    from flows.environment.identity import identity
    from tasks.caching.storage.store import project_store

    return (
        await make_deployments([DeployedExperiment(load_experiment("line"), schedule)], identity(project_store().root))
    )[0]


@pytest.fixture
def scheduled(store: Store, api: Api) -> UUID:
    """A deployment with SCHEDULE."""
    import asyncio

    deployment_id = asyncio.run(made(SCHEDULE)).apply()
    api.client.pause_deployment(deployment_id)
    return UUID(str(deployment_id))


def test_the_server_gives_them_to_the_runs_that_it_plans(scheduled: UUID, api: Api) -> None:
    (schedule,) = api.client.read_deployment(scheduled).schedules
    assert schedule.parameters == SCHEDULE.parameters
    api.client.delete_deployment(scheduled)


def test_a_run_takes_its_seeds_from_the_day_on_which_it_was_due(store: Store, api: Api) -> None:
    from prefect.states import Scheduled

    from flows import orchestration

    noisy = load_experiment("line", {"data": {"noise": 0.1}})  # without noise its seed is in no key
    parameters = {"experiment": noisy.model_dump(mode="json"), "until": "generate"}
    flow_run = api.client.create_flow_run(
        orchestration.train, parameters=parameters | {"dated": ["data.seed"]}, state=Scheduled(scheduled_time=NIGHT)
    )
    assert orchestration.train.execute(flow_run).is_completed()
    (record,) = (store.records / "generate").glob("*.json")
    assert read_record(record).ingredients["data.seed"] == 20261127
    assert api.flow_run(flow_run.id).state.name == "Completed"
