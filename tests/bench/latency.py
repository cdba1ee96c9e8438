"""How long a run that is asked for waits under `workflow serve`, and the verification that follows it.

Prints as JSON, for each round, the seconds from the request to the first stage, and from the end of the training to the
beginning of the verification.
Usage: python latency.py ROUNDS
"""

import json
import sys
import time
from datetime import UTC, datetime
from typing import Any

from flows.config.experiments import load_experiment
from flows.runtime.session import prefect_session
from flows.services import serve_process
from tasks.caching.storage.store import project_store


def wait(look: Any) -> Any:
    """What `look` finds, as soon as it is something."""
    while not (found := look()):
        time.sleep(0.2)
    return found


def measure(client: Any, deployment: Any, epochs: int) -> tuple[float, float]:
    """The two waits of one training."""
    from prefect.client.schemas.filters import FlowRunFilter

    experiment = load_experiment("line", {"training": {"epochs": epochs}}).model_dump(mode="json")
    asked = datetime.now(UTC)
    flow_run = client.create_flow_run_from_deployment(deployment.id, parameters={"experiment": experiment})
    chosen = FlowRunFilter.model_validate({"id": {"any_": [flow_run.id]}})

    def ended() -> Any:
        run = client.read_flow_run(flow_run.id)
        return run if run.state.is_final() else None

    trained = wait(ended)
    name = (project_store().runs / "latest").readlink().name
    verifies = FlowRunFilter.model_validate({"name": {"any_": [f"verify {name}"]}})

    def verified() -> Any:
        found = client.read_flow_runs(flow_run_filter=verifies)
        return found[0] if found and found[0].state.is_final() else None

    verification = wait(verified)
    first = min(task.start_time for task in client.read_task_runs(flow_run_filter=chosen))
    return (first - asked).total_seconds(), (verification.start_time - trained.end_time).total_seconds()


def main(rounds: int) -> None:
    root = project_store().root
    with prefect_session(root):
        from prefect.client.orchestration import get_client

        serve_process.start(root)
        try:
            with get_client(sync_client=True) as client:
                deployment = client.read_deployment_by_name("train/line")
                print(json.dumps([measure(client, deployment, 20 + number) for number in range(rounds)]))
        finally:
            serve_process.stop(root)


if __name__ == "__main__":
    main(int(sys.argv[1]))
