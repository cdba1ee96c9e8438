"""What Prefect's server knows, asked through its API."""

import re
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

#: Seconds until something that was waited for counts as never happening.
PATIENCE = 180.0

#: Seconds without news of its tasks after which a flow run counts as recorded: the server writes every second.
SETTLING_SECONDS = 2.0


class Api:
    """What Prefect knows of flow runs: read back from the server, which learns of task runs with some delay."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def flow_run(self, flow_run_id: Any) -> Any:
        """A flow run."""
        return self.client.read_flow_run(flow_run_id)

    def create(self, flow: Any, state: Any, *tags: str) -> Any:
        """A new flow run in a state, which nobody carries out; its id."""
        return self.client.create_flow_run(flow, state=state, tags=tags).id

    def create_task_run(self, task: Any, flow_run_id: Any, state: Any) -> None:
        """A new task run of a flow run in a state, which nobody carries out."""
        self.client.create_task_run(task, flow_run_id, dynamic_key="0", name=task.name, state=state)

    def set_state(self, flow_run_id: Any, state: Any) -> None:
        """Puts a flow run into a state, whatever it is in."""
        self.client.set_flow_run_state(flow_run_id, state, force=True)

    def newest(self, name: str) -> Any:
        """The newest flow run whose name has a text in it."""
        from prefect.client.schemas.filters import FlowRunFilter
        from prefect.client.schemas.sorting import FlowRunSort

        runs = self.client.read_flow_runs(
            flow_run_filter=FlowRunFilter.model_validate({"name": {"like_": name}}),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=1,
        )
        assert runs, f"Prefect knows no flow run named {name}"
        return runs[0]

    def last(self) -> list[Any]:
        """The 200 flow runs that were to start last. Unless asked to sort them, Prefect gives any 200, by their ids."""
        from prefect.client.schemas.sorting import FlowRunSort

        return list(self.client.read_flow_runs(sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=200))

    def since(self, moment: datetime) -> list[Any]:
        """The flow runs that have begun since a moment."""
        from prefect.client.schemas.filters import FlowRunFilter

        chosen = FlowRunFilter.model_validate({"start_time": {"after_": moment}})
        return list(self.client.read_flow_runs(flow_run_filter=chosen))

    def tagged(self, *tags: str) -> list[Any]:
        """The flow runs that have all of some tags."""
        from prefect.client.schemas.filters import FlowRunFilter

        return list(self.client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate({"tags": {"all_": tags}})))

    def stages(self, flow_run_id: Any, count: int) -> list[tuple[str, str]]:
        """The name and the state's name of each of `count` task runs, in the order in which they started."""
        from prefect.client.schemas.filters import FlowRunFilter

        flow = FlowRunFilter.model_validate({"id": {"any_": [flow_run_id]}})

        def look() -> list[tuple[str, str]] | None:
            found = self.client.read_task_runs(flow_run_filter=flow)
            if len(found) < count or not all(run.state and run.state.is_final() for run in found):
                return None
            return [(run.name, run.state.name) for run in sorted(found, key=lambda run: run.expected_start_time)]

        return until_there(look)

    def ended_stages(self, flow_run_id: Any, count: int) -> None:
        """Waits until the server knows that `count` task runs have ended; it learns that after a while."""
        from prefect.client.schemas.filters import FlowRunFilter

        flow = FlowRunFilter.model_validate({"id": {"any_": [flow_run_id]}})

        def look() -> bool | None:
            found = self.client.read_task_runs(flow_run_filter=flow)
            return sum(run.state is not None and run.state.is_final() for run in found) >= count or None

        until_there(look)

    def settled_tasks(self, flow_run_id: Any) -> None:
        """Waits until the server has recorded all that was sent of a flow run's tasks: it does so after a while."""
        from prefect.client.schemas.filters import FlowRunFilter

        flow = FlowRunFilter.model_validate({"id": {"any_": [flow_run_id]}})
        before: list[Any] = []
        while (now := [(run.id, run.state) for run in self.client.read_task_runs(flow_run_filter=flow)]) != before:
            before = now
            time.sleep(SETTLING_SECONDS)

    def events(self, flow_run_id: Any) -> set[str]:
        """The names of the events of a flow run as far as the server knows them, such as `prefect.flow-run.Failed`."""
        chosen = {"filter": {"resource": {"id": [f"prefect.flow-run.{flow_run_id}"]}}, "limit": 50}
        answer = self.client.request("POST", "/events/filter", json=chosen)
        return {event["event"] for event in answer.json()["events"]}

    def artifacts(self, flow_run_id: Any) -> dict[str, str]:
        """The content of every page of a flow run, by its plain key: Markdown, or a table as JSON."""
        from prefect.client.schemas.filters import ArtifactFilter

        chosen = ArtifactFilter.model_validate({"flow_run_id": {"any_": [flow_run_id]}})
        return {
            plain(found.key): found.data for found in self.client.read_artifacts(artifact_filter=chosen) if found.key
        }

    def log(self, flow_run_id: Any, text: str) -> list[str]:
        """The messages of a flow run's log, once one of them contains a text."""

        def look() -> list[str] | None:
            messages = self.log_now(flow_run_id)
            return messages if any(text in message for message in messages) else None

        return until_there(look)

    def log_now(self, flow_run_id: Any) -> list[str]:
        """The messages of a flow run's log as far as the server knows them."""
        from prefect.client.schemas.filters import LogFilter

        chosen = LogFilter.model_validate({"flow_run_id": {"any_": [flow_run_id]}})
        return [log.message for log in self.client.read_logs(chosen)]

    def verifications(self, run: str) -> list[Any]:
        """The flow runs that verify a run."""
        from prefect.client.schemas.filters import FlowRunFilter

        chosen = FlowRunFilter.model_validate({"name": {"any_": [f"verify {run}"]}})
        found: list[Any] = self.client.read_flow_runs(flow_run_filter=chosen)
        return found


def plain(key: str) -> str:
    """A page's key without the identity of its store, which is in it where another store has the same experiment."""
    return re.sub(r"-at-[0-9a-f]{12}-", "-", key)


def until_there(look: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """What `look` finds, as soon as it is not None; within so many seconds."""
    deadline = time.monotonic() + patience
    while (found := look()) is None:
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return found
