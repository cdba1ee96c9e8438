"""`workflow worker`, for the deployments in prefect.yaml."""

import signal
import time
from typing import Any

from flows.deploy.alerts import FAILURES
from tests.flows.conftest import PROJECT
from tests.support.prefect_api import until_there
from tests.support.serving_project import ENDLESS, EVENT_SECONDS, Finish, ServingProject, Start


def test_a_worker_trains_verifies_and_shuts_down_gracefully(
    project: ServingProject, start_process: Start, workflow: Finish
) -> None:
    for words in (
        ("work-pool", "create", "workflow", "--type", "process", "--overwrite"),
        ("--no-prompt", "deploy", "--all"),
    ):
        done = workflow(*words, module="prefect", home=project.home, cwd=PROJECT)
        assert done.returncode == 0, done.stdout + done.stderr
    # As in a service: without the programs of its virtual environment on the path.
    settings = {"PATH": "/usr/bin:/bin", "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "ERROR"}

    def begin() -> Any:
        return start_process("-m", "flows.cli", "worker", home=project.home, **settings)

    worker = begin()
    project.until(project.ask({"training": {"epochs": 24}}), "Completed")
    run = (project.store.runs / "latest").readlink().name

    def verified() -> Any:
        return [run for run in project.api.verifications(run) if run.state.is_completed()] or None

    until_there(verified)
    endless = project.ask(ENDLESS)
    project.api.log(endless, "train runs")
    worker.send_signal(signal.SIGTERM)
    out, error = worker.communicate(timeout=90)
    assert worker.returncode == 0, out + error
    assert project.api.flow_run(endless).state.name == "Cancelled"
    assert project.leases_have_expired()
    worker = begin()
    soon = project.ask({"training": {"epochs": 25}})
    until_there(lambda: project.api.flow_run(soon).state.is_pending() or None)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=90) == 0
    time.sleep(EVENT_SECONDS)
    assert project.api.events(soon) & FAILURES == set(), "it has done nothing yet"
