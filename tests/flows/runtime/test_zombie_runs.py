"""Flow runs that ended without reporting it are found at the next start, and those that live are left alone."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from flows.config.experiments import load_experiment
from flows.environment.identity import PREFIX
from flows.runtime import zombie_runs
from flows.runtime.zombie_runs import (
    acquire_run_lease,
    dump_final_state,
    has_ended_in_prefect,
    leases_folder,
    mark_zombie_runs,
)
from tests.flows.conftest import AtStage
from tests.support.fork_server import ForkServer, workflow
from tests.support.prefect_api import Api


@pytest.fixture
def create(api: Api) -> Callable[[str], UUID]:
    """A flow run that Prefect believes to be in a state, with a task run in that state; its id."""
    from prefect import flow, states, task

    @flow(name="train")
    def train() -> None:
        """Never runs."""

    @task
    def split() -> None:
        """Never runs."""

    def run(name: str) -> UUID:
        state = getattr(states, name)
        flow_run: UUID = api.create(train, state())
        api.create_task_run(split, flow_run, state())
        return flow_run

    return run


@pytest.fixture
def running(create: Callable[[str], UUID]) -> UUID:
    return create("Running")


def died(root: Path, flow_run_id: object, content: bytes = b"") -> Path:
    """What a process that died leaves: the file of its claim, which nobody holds."""
    leases_folder(root).mkdir(parents=True, exist_ok=True)
    path = leases_folder(root) / f"{flow_run_id}.lock"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("state", ["Running", "Pending", "Scheduled"])
def test_a_dead_run_is_marked_crashed_with_its_tasks(
    tmp_path: Path, create: Callable[[str], UUID], api: Api, state: str
) -> None:
    flow_run = create(state)
    path = died(tmp_path, flow_run)
    reported: list[str] = []
    mark_zombie_runs(tmp_path, reported.append)
    found = api.flow_run(flow_run).state
    assert (found.name, found.message) == ("Crashed", zombie_runs.ZOMBIE)
    assert [state for _, state in api.stages(flow_run, 1)] == ["Crashed"]
    assert not path.exists()
    assert str(flow_run) in reported[0]


@pytest.mark.parametrize(("state", "of_tasks"), [("Completed", "Completed"), ("Failed", "Crashed")])
def test_a_run_that_could_not_tell_how_it_ended_is_marked_so(
    tmp_path: Path, running: UUID, api: Api, state: str, of_tasks: str
) -> None:
    from prefect import states

    path = died(tmp_path, running, dump_final_state(getattr(states, state)(message="as it was")))
    mark_zombie_runs(tmp_path)
    found = api.flow_run(running).state
    assert (found.name, found.message) == (state, "as it was")
    assert [state for _, state in api.stages(running, 1)] == [of_tasks]
    assert not path.exists()


@pytest.mark.parametrize("content", [b"{", b"\x00\xff", b"[]", b'{"type": "RUNNING"}', b'{"type": "PICKLED"}'])
def test_a_lease_without_a_final_state_is_of_a_dead_run(
    tmp_path: Path, running: UUID, api: Api, content: bytes
) -> None:
    died(tmp_path, running, content)
    mark_zombie_runs(tmp_path)
    assert api.flow_run(running).state.name == "Crashed"


def test_a_run_that_was_just_cancelled_is_none_that_crashed(tmp_path: Path, running: UUID, api: Api) -> None:
    from prefect.states import Cancelling

    api.set_state(running, Cancelling())
    died(tmp_path, running)
    mark_zombie_runs(tmp_path)
    assert api.flow_run(running).state.name == "Cancelled"
    assert "prefect.flow-run.Crashed" not in api.events(running)


def test_a_living_run_is_left_alone(tmp_path: Path, running: UUID, api: Api) -> None:
    mine = acquire_run_lease(tmp_path, running)
    mark_zombie_runs(tmp_path)
    assert api.flow_run(running).state.name == "Running"
    assert mine.path.exists()
    mine.end()


def test_a_run_that_had_ended_stays_as_it_ended_and_so_do_its_tasks(tmp_path: Path, running: UUID, api: Api) -> None:
    from prefect.states import Completed

    api.set_state(running, Completed())
    path = died(tmp_path, running)
    reported: list[str] = []
    mark_zombie_runs(tmp_path, reported.append)
    assert api.flow_run(running).state.name == "Completed"
    assert [state for _, state in api.stages(running, 1)] == ["Completed"]
    assert not path.exists()
    assert not reported


def test_a_run_that_prefect_does_not_know_is_forgotten(tmp_path: Path, prefect: None) -> None:
    path = died(tmp_path, uuid4())
    mark_zombie_runs(tmp_path)
    assert not path.exists()


def test_a_run_of_another_store_is_left_alone(tmp_path: Path, running: UUID, api: Api) -> None:
    """A project that was copied while it ran has the claims of runs that go on in the other."""
    api.client.update_flow_run(running, tags=[f"{PREFIX}0123"])
    path = died(tmp_path, running)
    mark_zombie_runs(tmp_path)
    assert api.flow_run(running).state.name == "Running"
    assert not path.exists()


def test_files_that_are_no_claims_are_left_alone(tmp_path: Path, running: UUID, api: Api) -> None:
    foreign = died(tmp_path, "notes")
    died(tmp_path, running)
    mark_zombie_runs(tmp_path)
    assert foreign.exists()
    assert api.flow_run(running).state.name == "Crashed"


def test_without_an_answer_the_claim_stays(tmp_path: Path, running: UUID) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    path = died(tmp_path, running)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        mark_zombie_runs(tmp_path)
    assert path.exists()


def test_a_claim_ends_with_a_flow_that_ended_well(store: Any, train: Any) -> None:
    train(until="generate")
    assert list(leases_folder(store.root).iterdir()) == []


def test_a_lease_ends_with_a_flow_that_failed_and_reported_it(store: Any, train: Any, api: Api) -> None:
    failed = train(changes={"training": {"loss": "mse", "learning_rate": 1e30}}, until="train", may_fail=True)
    assert "diverged" in str(failed.error)
    assert api.flow_run(failed.flow_run_id).state.name == "Failed"
    assert list(leases_folder(store.root).iterdir()) == []


def test_a_run_that_prefect_knew_before_is_claimed_while_it_runs(store: Any, api: Api, at_stage: AtStage) -> None:
    """As one of a deployment, whose process may die with that of `workflow serve`."""
    from prefect.states import Pending

    from flows import orchestration

    parameters = {"experiment": load_experiment("line").model_dump(mode="json"), "until": "generate"}
    flow_run = api.client.create_flow_run(orchestration.train, parameters=parameters, state=Pending())
    claimed: list[str] = []
    at_stage("train.generate", lambda: claimed.extend(path.stem for path in leases_folder(store.root).iterdir()))
    assert orchestration.train.execute(flow_run).is_completed()
    assert claimed == [str(flow_run.id)]
    assert list(leases_folder(store.root).iterdir()) == []


def die_when_created(*words: str) -> None:
    """Runs a command that is killed when Prefect has made the flow run, and before it has said so."""
    from prefect.client.orchestration import SyncPrefectClient

    create = SyncPrefectClient.create_flow_run

    def create_and_die(*arguments: Any, **options: Any) -> None:
        create(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)

    SyncPrefectClient.create_flow_run = create_and_die  # type: ignore[method-assign]
    workflow(*words)


def test_a_run_whose_process_died_before_it_knew_of_it_is_found(tmp_path: Path, forked: ForkServer, api: Api) -> None:
    killed = forked(die_when_created, "train", "line", home=tmp_path)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (path,) = leases_folder(tmp_path).iterdir()
    flow_run = api.newest(path.stem)
    assert flow_run.state.name == "Pending"
    mark_zombie_runs(tmp_path)
    assert api.flow_run(flow_run.id).state.name == "Crashed"
    assert not path.exists()


def test_a_run_that_has_begun_has_the_name_of_its_flow_and_is_claimed_by_its_id(
    store: Any, train: Any, api: Api, at_stage: AtStage
) -> None:
    claimed: list[str] = []
    at_stage("train.generate", lambda: claimed.extend(path.stem for path in leases_folder(store.root).iterdir()))
    begun = train(until="generate")
    assert claimed == [str(begun.flow_run_id)]
    assert api.flow_run(begun.flow_run_id).name.startswith("line on cpu")


def test_a_run_that_was_given_up(running: UUID, api: Api) -> None:
    from prefect.states import Crashed

    assert not has_ended_in_prefect(running)
    api.set_state(running, Crashed())
    assert has_ended_in_prefect(running)
