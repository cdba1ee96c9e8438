"""`workflow serve` as a process: runs that are requested, triggered, waiting, retried and cancelled."""

import asyncio
import json
import logging
import os
import shutil
import signal
import socket
import struct
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from logging.handlers import BufferingHandler
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.config.experiments import load_experiment
from flows.deploy.alerts import FAILURES
from flows.services import serve_process
from tasks.caching.gc.inspection import inspect_store
from tasks.caching.storage.store import Store
from tests.flows.conftest import STAGES
from tests.support.prefect_api import until_there
from tests.support.serving_project import ENDLESS, EVENT_SECONDS, Finish, ServingProject


def test_every_preset_is_deployed_with_its_parameters(served: ServingProject) -> None:
    deployments = {deployment.name: deployment for deployment in served.api.client.read_deployments()}
    assert set(deployments) == {"line", "line-cuda", "line-cuda-scaled", "line-layers", "each-run"}
    asked = deployments["line"].parameters
    assert asked["experiment"] == load_experiment("line").model_dump(mode="json")
    assert (asked["if_running"], asked["retries"]) == ("wait", 3)
    schema = deployments["line"].parameter_openapi_schema
    assert all(schema["properties"][name]["description"] for name in schema["properties"])


def test_a_training_is_followed_by_the_verification_of_its_run(served: ServingProject) -> None:
    trained = served.until(served.ask({"training": {"epochs": 21}}), "Completed")
    run = (served.store.runs / "latest").readlink().name
    assert trained.name == "line on cpu: training.epochs 180 → 21"

    def look() -> Any:
        found = [run for run in served.api.verifications(run) if run.state.is_final()]
        return found[0] if found else None

    verified = until_there(look)
    assert verified.state.is_completed()
    assert (verified.parameters["run"], verified.created_by.type) == (run, "AUTOMATION")
    assert set(verified.tags) >= {"line", "cpu"}


def test_trainings_in_another_store_are_ignored(served: ServingProject, workflow: Finish, tmp_path: Path) -> None:
    """Another store cannot offer deployments of the same names either, unless it is to replace this one."""
    elsewhere = tmp_path / "elsewhere"
    done = workflow("train", "line", "--training.epochs", "24", "--json", home=elsewhere)
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)["run"]
    served.until(served.ask({"training": {"epochs": 24}}), "Completed")
    ours = (served.store.runs / "latest").readlink().name
    until_there(lambda: [found for found in served.api.verifications(ours) if found.state.is_final()] or None)
    assert not [found for found in served.api.last() if found.parameters.get("run") == run]
    refused = workflow("serve", home=elsewhere)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert (
        "another store offers train/line, train/line-cuda, train/line-cuda-scaled, train/line-layers, verify/each-run"
        in refused.stderr
    )


def test_trainings_while_nothing_is_served_leave_one_verification(
    project: ServingProject, served: ServingProject, workflow: Finish
) -> None:
    served.end()

    def train() -> str:
        done = workflow("train", "line", "--training.epochs", "25", "--json", home=served.home)
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["run"])

    def asked(run: str) -> list[Any]:
        return [found.id for found in served.api.last() if found.parameters.get("run") == run]

    run = train()
    until_there(lambda: asked(run) or None)
    assert train() == train() == run
    (pending,) = asked(run)
    assert served.api.flow_run(pending).state.is_scheduled()
    project.begin("--limit", "3")
    assert served.until(pending, "Completed")
    assert train() == run
    assert asked(run) == [pending]


def test_one_stage_is_rerun_and_the_others_are_cached(served: ServingProject) -> None:
    served.until(served.ask(), "Completed")
    again = served.until(served.ask(refresh=["evaluate"]), "Completed")
    assert again.name == "line on cpu: evaluate forced"
    assert served.states(again.id) == {name: "Completed" if name == "evaluate" else "Cached" for name in STAGES}
    assert "refreshed evaluate" in again.tags


def test_a_retried_run_resumes_at_the_stage_that_failed(served: ServingProject) -> None:
    from prefect.states import Scheduled

    blocked = served.home / "artifacts" / "evaluate"
    aside = shutil.move(blocked, served.home / "aside")
    blocked.write_text("a file where a folder belongs")
    changes = {"training": {"epochs": 22}}
    failed = served.until(served.ask(changes, retries=0), "Failed")
    assert "stage evaluate failed: " in failed.state.message
    blocked.unlink()
    shutil.move(aside, blocked)
    served.api.client.set_flow_run_state(failed.id, Scheduled(name="AwaitingRetry"), force=True)
    retried = served.until(failed.id, "Completed", "Failed")
    assert (retried.state.name, retried.run_count) == ("Completed", 2)
    expected = {name: "Cached" if name in ("generate", "split", "train") else "Completed" for name in STAGES}
    until_there(lambda: served.states(failed.id) == expected or None)


def test_a_training_of_the_same_experiment_waits_or_is_cancelled(served: ServingProject) -> None:
    from prefect.states import Cancelled

    first = served.ask(ENDLESS)
    served.until(first, "Running")
    served.api.log(first, "train runs")
    waiting = served.ask({"training": {"epochs": 23}})
    served.until(waiting, "Waiting")
    refused = served.until(served.ask(if_running="cancel"), "Cancelled")
    assert refused.state.message == "another run of line is in progress"
    given_up = served.ask({"training": {"epochs": 22}})
    served.until(given_up, "Waiting")
    served.api.set_state(given_up, Cancelled(message="By hand."))
    served.cancel(first)
    assert served.until(first, "Cancelled")
    assert served.until(waiting, "Completed")
    served.api.log(given_up, "Finished in state Cancelled")
    assert served.api.flow_run(given_up).state.name == "Cancelled"


def test_only_reports_are_served_and_only_on_this_machine(served: ServingProject) -> None:
    serving = serve_process.find(served.home)
    assert serving is not None
    run = (served.store.runs / "latest").readlink().name
    report = httpx.get(f"{serving.reports}/{run}/report.html")
    assert report.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert run in report.text
    for path, host in (
        ("../records", "127.0.0.1:1"),
        (f"{run}/nothing", "127.0.0.1:1"),
        (f"{run}/run.json", "evil.org:1"),
    ):
        assert httpx.get(f"{serving.reports}/{path}", headers={"Host": host}).status_code == 404


async def send_to_control_port(messages: list[bytes]) -> list[logging.LogRecord]:
    """Sends each message to the port at which runs report, and resets the connection; returns the log."""
    from flows.deploy.runner import PORT_LOGGER, ForkingRunner

    log = BufferingHandler(capacity=1000)
    async with ForkingRunner(name="strangers") as runner:
        logging.getLogger(PORT_LOGGER).addHandler(log)  # not before: Prefect puts its own in place of others
        for message in messages:
            _, line = await asyncio.open_connection("127.0.0.1", runner._control_channel.port)
            line.write(message)
            await line.drain()
            await asyncio.sleep(0.1)
            line.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            line.close()
        await asyncio.sleep(0.1)
        logging.getLogger(PORT_LOGGER).removeHandler(log)
    return log.buffer


@pytest.mark.usefixtures("prefect")
def test_malformed_requests_to_the_control_port_are_logged_without_a_traceback() -> None:
    messages = [b"", b"\0" * 100_000, b"\xff\n", b"GET / HTTP/1.1\r\n\r\n"]
    records = asyncio.run(send_to_control_port(messages))
    reported = [record.getMessage() for record in records]
    assert [record.exc_info for record in records] == [None] * 4
    assert sum("rejected unauthenticated" in text for text in reported) == 2
    assert sum("reset by peer" in text for text in reported) == 1


def test_a_project_is_served_once(served: ServingProject, workflow: Finish) -> None:
    done = workflow("serve", home=served.home)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"`workflow serve` is already running (process {served.process.pid if served.process else 0})" in done.stderr


@pytest.mark.parametrize(
    ("number", "whole_group"),
    [
        pytest.param(signal.SIGINT, False, id="Ctrl-C"),
        pytest.param(signal.SIGHUP, True, id="a closed terminal"),
        pytest.param(signal.SIGTERM, True, id="SIGTERM to all", marks=pytest.mark.long),
    ],
)
def test_at_shutdown_runs_save_a_checkpoint_and_the_next_resumes_from_it(
    project: ServingProject, served: ServingProject, number: signal.Signals, whole_group: bool
) -> None:
    if served.process is None or served.process.poll() is not None:
        project.begin()
    run = served.ask(ENDLESS)
    served.api.log(run, "train runs")
    until_there(lambda: list(served.home.glob("artifacts/states/**/*.pth")) or None)
    code, out = served.end(number, whole_group=whole_group)
    assert code == 0
    assert "train/line  when asked to" in out
    assert project.api.flow_run(run).state.name == "Cancelled"
    assert project.api.events(run) & FAILURES == set()
    assert served.leases_have_expired()
    assert inspect_store(served.store).problems == []
    project.begin("--limit", "3")
    again = served.ask(ENDLESS)
    served.api.log(again, "resumes after epoch")
    served.cancel(again)
    assert served.until(again, "Cancelled")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_shutdown_just_as_a_run_starts_is_not_a_crash(
    project: ServingProject, served: ServingProject, number: signal.Signals
) -> None:
    served.end()
    project.begin("line")
    run = project.ask(ENDLESS)  # which cannot complete before the shutdown comes
    until_there(lambda: project.api.flow_run(run).state.is_pending() or None)
    assert project.end(number)[0] == 0
    time.sleep(EVENT_SECONDS)
    state = project.api.flow_run(run).state
    assert state.name == "Cancelled" or state.is_pending(), "one that had no process yet is handed back later"
    assert served.leases_have_expired()
    assert project.api.events(run) & FAILURES == set()


class LateRunner:
    """Stands for a runner with a flow run whose process starts after it was stopped, and which never completes."""

    started = False

    def __init__(self, **options: Any) -> None:
        self._ended, self._stops = asyncio.Event(), 0

    async def start(self) -> None:
        self.started = True
        await self._ended.wait()

    async def astop(self) -> None:
        await self.cancel_all()

    async def cancel_all(self) -> None:
        self._stops += 1
        if self._stops > 2:  # now it has a process
            self._ended.set()


def test_a_run_that_starts_after_the_shutdown_is_cancelled(prefect: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.deploy import runner

    monkeypatch.setattr(runner, "ForkingRunner", LateRunner)
    monkeypatch.setattr(runner, "QUERY_SECONDS", 0.01)

    async def serve() -> None:
        shutdown = runner.serve([], 1, lambda: os.kill(os.getpid(), signal.SIGTERM), lambda: None)
        await asyncio.wait_for(shutdown, 20)

    asyncio.run(serve())


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_shutdown_just_before_a_scheduled_time_is_not_a_crash(
    project: ServingProject, served: ServingProject, tmp_path: Path, number: signal.Signals
) -> None:
    served.end()
    file = tmp_path / "minutely.toml"
    file.write_text("[training]\nepochs = 3\n[schedule]\ncron = '* * * * *'\n")
    project.begin(str(file))

    def near() -> Any:
        """Returns a run that is due after the shutdown, however slow the machine is, and soon."""
        soon = datetime.now(UTC) + timedelta(seconds=12)
        planned = [run for run in project.api.last() if run.auto_scheduled and run.state.is_scheduled()]
        return min((run for run in planned if run.expected_start_time < soon), default=None, key=lambda run: run.id)

    run = until_there(near)
    assert project.end(number)[0] == 0
    assert served.leases_have_expired()
    time.sleep(EVENT_SECONDS)
    assert project.api.events(run.id) & FAILURES == set()
    assert project.api.flow_run(run.id).state.is_scheduled()


def test_schedules_are_planned_by_the_server(
    project: ServingProject, served: ServingProject, tmp_path: Path, workflow: Finish
) -> None:
    served.end()
    file = tmp_path / "nightly.toml"
    file.write_text("[training]\nepochs = 3\n[schedule]\ncron = '30 3 * * *'\ntimezone = 'Europe/Berlin'\n")
    project.begin(str(file), "--limit", "3")
    from prefect.client.schemas.filters import FlowRunFilter

    deployment = project.api.client.read_deployment_by_name("train/nightly")
    chosen = FlowRunFilter.model_validate({"deployment_id": {"any_": [deployment.id]}})

    def look() -> Any:
        found = project.api.client.read_flow_runs(flow_run_filter=chosen)
        return found if len(found) >= 3 else None

    planned = until_there(look)
    assert all(run.auto_scheduled and run.state.is_scheduled() for run in planned)
    assert {run.expected_start_time.minute for run in planned} == {30}


@pytest.mark.parametrize(
    ("options", "reported"),
    [
        (("--cron", "30 3 * * *"), "a schedule is given without an experiment"),
        (("line", "--cron", "61 * * * *"), "schedule.cron: "),
        (("line", "--cron", "0 3 * * *", "--interval", "1d"), "give one of cron, interval and rrule"),
        (("line", "--interval", "soon"), "interval: "),
        (("line", "--cron", "0 3 * * *", "--timezone", "Mars/Olympus"), "'Mars/Olympus' is no time zone"),
        (("line", "line"), "two experiments are named line"),
        (("nothing",), "there is no preset 'nothing'"),
        (("line", "--limit", "0"), "--limit"),
        (("line", "--dated", "data.seed"), "give cron, interval or rrule too"),
    ],
)
def test_an_invalid_schedule_is_rejected(
    store: Store, command: Callable[..., tuple[int, str, str]], options: tuple[str, ...], reported: str
) -> None:
    code, out, error = command("serve", *options)
    assert (code, out) == (2, "")
    assert reported in error
    assert "Traceback" not in error


def test_one_of_the_missed_runs_is_started(project: ServingProject, served: ServingProject, tmp_path: Path) -> None:
    from prefect.client.schemas.filters import FlowRunFilter

    served.end()
    file = tmp_path / "often.toml"
    file.write_text("[training]\nepochs = 3\n[schedule]\ninterval = '2s'\n")
    project.begin(str(file))
    deployment = project.api.client.read_deployment_by_name("train/often")
    chosen = FlowRunFilter.model_validate({"deployment_id": {"any_": [deployment.id]}})

    def ended() -> Any:
        found = project.api.client.read_flow_runs(flow_run_filter=chosen, limit=200)
        return [run for run in found if run.state.is_final()] or None

    until_there(ended)
    assert project.process is not None
    project.process.kill()
    project.process.communicate()
    left = datetime.now(UTC)
    time.sleep(9)
    back = datetime.now(UTC)
    project.begin(str(file))

    def missed() -> Any:
        found = project.api.client.read_flow_runs(flow_run_filter=chosen, limit=200)
        found = [run for run in found if left < run.expected_start_time < back]
        return found if found and all(run.state.is_final() for run in found) else None

    runs = until_there(missed)
    assert len(runs) >= 3
    assert {run.state.name for run in runs} <= {"Completed", "Cancelled"}
    made_up_for = [run for run in ended() if run.state.is_completed() and run.start_time > back]
    assert made_up_for
    # At most one of them is started, and none if the next due run was quicker: it does the work of all.
    assert len([run for run in runs if run.state.is_completed()]) <= 1
    assert all(
        "did the work" in run.state.message or "will do the work" in run.state.message
        for run in runs
        if run.state.is_cancelled()
    )
