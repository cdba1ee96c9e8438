"""The schedules on the server are those in the files, except that a person's pauses are kept."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.deploy.deployments import POOL, experiments_to_deploy, make_deployments
from flows.environment.identity import identity, store_tag
from tasks.caching.storage.store import Store
from tests.flows.conftest import enter
from tests.support.prefect_api import Api

Command = Callable[..., tuple[int, str, str]]
RULE = "[schedule]\ncron = '30 3 * * *'\ntimezone = 'Europe/Berlin'\n"


class Offering:
    """Creates the deployments of a file repeatedly, as `workflow serve` and `workflow deploy` do."""

    def __init__(self, file: Path, store: Store, api: Api) -> None:
        self.file, self.store, self.api = file, store, api
        self.lines: list[str] = []

    def write(self, text: str) -> None:
        self.file.write_text(f"[training]\nepochs = 3\n{text}")

    def make(self, *sources: str, pool: str | None = None) -> set[str]:
        """Creates them; returns the names of those that stay paused."""
        from flows.deploy.registration import deploy_to, prepare

        deployments = asyncio.run(make_deployments(experiments_to_deploy(sources), identity(self.store.root)))
        paused = prepare(deployments, pool, self.store.root, self.lines.append, take_over=False)
        if pool:
            deploy_to(pool, deployments)
        else:
            for deployment in deployments:
                asyncio.run(deployment.aapply())
        return paused

    @property
    def deployment(self) -> Any:
        return self.api.client.read_deployment_by_name("train/nightly")

    def planned(self, name: str = "SCHEDULED") -> list[Any]:
        """Returns the deployment's flow runs in a type of state."""
        from prefect.client.schemas.filters import FlowRunFilter

        chosen = {"deployment_id": {"any_": [self.deployment.id]}, "state": {"type": {"any_": [name]}}}
        return list(self.api.client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(chosen)))


@pytest.fixture
def offering(store: Store, api: Api, tmp_path: Path) -> Iterator[Offering]:
    """A file with a schedule that is not deployed yet. Its deployments are removed at the end."""
    offering = Offering(tmp_path / "nightly.toml", store, api)
    offering.write(RULE)
    yield offering
    for deployment in api.client.read_deployments():
        api.client.delete_resource_owned_automations(f"prefect.deployment.{deployment.id}")
        api.client.delete_deployment(deployment.id)


@pytest.mark.parametrize("pool", [None, POOL])
def test_a_schedule_removed_from_the_file_is_removed(offering: Offering, pool: str | None) -> None:
    offering.make(str(offering.file), pool=pool)
    assert [schedule.schedule.cron for schedule in offering.deployment.schedules] == ["30 3 * * *"]
    assert offering.deployment.work_pool_name == pool
    offering.write("")
    offering.make(str(offering.file), pool=pool)
    assert offering.deployment.schedules == []


@pytest.mark.parametrize("pool", [None, POOL])
def test_a_schedule_paused_by_a_person_stays_paused(offering: Offering, pool: str | None) -> None:
    assert offering.make(str(offering.file), pool=pool) == set()
    (schedule,) = offering.deployment.schedules
    assert schedule.active
    offering.api.client.update_deployment_schedule(offering.deployment.id, schedule.id, active=False)
    assert offering.make(str(offering.file), pool=pool) == {"nightly"}
    (schedule,) = offering.deployment.schedules
    assert not schedule.active
    offering.api.client.update_deployment_schedule(offering.deployment.id, schedule.id, active=True)
    assert offering.make(str(offering.file), pool=pool) == set()
    assert offering.deployment.schedules[0].active


def test_a_paused_deployment_stays_paused(offering: Offering) -> None:
    offering.make(str(offering.file))
    offering.api.client.pause_deployment(offering.deployment.id)
    assert offering.make(str(offering.file)) == {"nightly"}
    assert offering.deployment.paused


def test_a_schedule_no_longer_offered_is_paused_until_it_is_offered_again(offering: Offering) -> None:
    from prefect.states import Scheduled

    offering.make(str(offering.file))
    late = offering.api.client.create_flow_run_from_deployment(offering.deployment.id).id
    offering.api.client.request(
        "POST", "/deployments/{id}/schedule", path_params={"id": offering.deployment.id}, json={"min_runs": 3}
    )
    planned = [run for run in offering.planned() if run.auto_scheduled]
    assert len(planned) >= 3
    # As if it were late: the server itself only removes runs scheduled for the future.
    offering.api.set_state(planned[0].id, Scheduled(scheduled_time=offering.deployment.created, name="Late"))
    offering.make()
    assert not offering.deployment.schedules[0].active
    assert [run.id for run in offering.planned()] == [late]
    assert planned[0].id in {run.id for run in offering.planned("CANCELLED")}
    (line,) = offering.lines
    assert line.startswith("train/nightly is no longer offered: its schedule, 30 3 * * * Europe/Berlin, is paused")
    offering.make()
    assert offering.lines == [line]
    assert offering.make(str(offering.file)) == set()
    assert offering.deployment.schedules[0].active
    assert "not-offered" not in offering.deployment.tags


def test_serving_ignores_deployments_of_work_pools(offering: Offering) -> None:
    offering.make(str(offering.file), pool=POOL)
    offering.make()
    assert offering.deployment.schedules[0].active
    offering.make(pool=POOL)
    assert not offering.deployment.schedules[0].active


def test_schedules_are_listed_and_removed(
    offering: Offering, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("schedules", "list")[1].startswith("There are no schedules")
    offering.make(str(offering.file))
    assert command("schedules", "list")[1] == "train/nightly  30 3 * * * Europe/Berlin  active\n"
    monkeypatch.setattr("flows.services.serve_process.find", lambda root: object())
    code, _, error = command("schedules", "remove", "nightly")
    assert (code, error.count("\n")) == (2, 1)
    assert "train/nightly is being served" in error
    offering.make()
    (listed,) = json.loads(command("schedules", "list", "--json")[1])
    assert (listed["name"], listed["state"], listed["pool"]) == ("nightly", "not offered", None)
    assert command("schedules", "remove", "nightly") == (0, "train/nightly and its schedule were removed.\n", "")
    assert command("schedules", "list")[1].startswith("There are no schedules")
    code, _, error = command("schedules", "remove", "nightly")
    assert (code, "train/nightly has no schedule here" in error) == (2, True)


def test_deploying_prints_the_deployments(offering: Offering, command: Command) -> None:
    code, out, error = command("deploy", str(offering.file))
    assert re.search(r"Prefect UI  http://127\.0\.0\.1:[0-9]+/deployments$", out.strip())
    assert (code, error) == (0, "")
    assert "train/nightly  30 3 * * * Europe/Berlin\n" in out
    assert offering.deployment.job_variables == {"command": "python -m flows.executing"}
    assert offering.deployment.entrypoint == "flows.orchestration.train"
    offering.api.client.pause_deployment(offering.deployment.id)
    out = command("deploy", str(offering.file))[1]
    assert "train/nightly  30 3 * * * Europe/Berlin  paused in the Prefect UI\n" in out


def test_another_store_replaces_one_only_with_take_over(
    offering: Offering, command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offering.make(str(offering.file))
    elsewhere = enter(tmp_path / "elsewhere", monkeypatch)
    code, _, error = command("deploy", str(offering.file))
    assert code == 2
    assert "another store offers train/" in error
    assert "train/nightly" in error
    assert store_tag(offering.store.root) in offering.deployment.tags
    assert command("deploy", str(offering.file), "--take-over")[0] == 0
    assert store_tag(elsewhere.root) in offering.deployment.tags
