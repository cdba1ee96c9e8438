"""`workflow worker`, for the deployments of prefect.yaml."""

import signal
from typing import Any

from tests.flows.asking import until_there
from tests.flows.conftest import PROJECT
from tests.flows.served import ENDLESS, Finish, Served, Start


def test_a_worker_trains_verifies_and_ends_in_good_order(
    project: Served, start_process: Start, workflow: Finish
) -> None:
    for words in (
        ("work-pool", "create", "workflow", "--type", "process", "--overwrite"),
        ("--no-prompt", "deploy", "--all"),
    ):
        done = workflow(*words, module="prefect", home=project.home, cwd=PROJECT)
        assert done.returncode == 0, done.stdout + done.stderr
    # As a service has it: without the programs of the environment that it is installed in.
    settings = {"PATH": "/usr/bin:/bin", "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "ERROR"}
    worker = start_process("-m", "flows.cli", "worker", home=project.home, **settings)
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
    assert project.claims_are_free()
