"""A project whose flow runs are carried out by `workflow serve`, in a process of its own."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flows.config.experiments import load_experiment
from flows.services import serve_process
from tasks.caching.locking.lease import expired
from tasks.caching.storage.store import Store
from tests.support.prefect_api import Api, until_there
from tests.support.process_tree import finish
from tests.support.stages import STAGES

Start = Callable[..., "subprocess.Popen[str]"]
Finish = Callable[..., "subprocess.CompletedProcess[str]"]

#: A training that goes on until it is ended, and keeps where it is.
ENDLESS = {"training": {"epochs": 10_000_000, "checkpoint_every": "1s", "evaluate_every": 1_000_000}}

#: Seconds after which an event that is to come has come: the server looks twice a second.
EVENT_SECONDS = 3.0


class ServingProject:
    """A project that is served, and the runs that are asked for."""

    def __init__(self, home: Path, start: Start, api: Api) -> None:
        self.home, self.api, self._start = home, api, start
        self.process: subprocess.Popen[str] | None = None

    @property
    def store(self) -> Store:
        return Store(self.home)

    def begin(self, *options: str) -> serve_process.ServeProcess:
        """Starts `workflow serve`, and comes back when it takes runs."""
        process = self.process = self._start("-m", "flows.cli", "serve", *options, home=self.home)

        def look() -> serve_process.ServeProcess | None:
            assert process.poll() is None, process.communicate()
            found = serve_process.find(self.home)
            return found if found and found.reports else None

        found: serve_process.ServeProcess = until_there(look)
        return found

    def end(self, number: int = signal.SIGTERM, *, whole_group: bool = False) -> tuple[int, str]:
        """Ends it with a signal, to its helpers first if to the whole group; its exit code and what it printed."""
        assert self.process is not None
        if whole_group:
            for helper in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
                os.kill(int(helper), number)
        self.process.send_signal(number)
        out, _ = finish(self.process, 90)
        return self.process.returncode, out

    def ask(self, changes: dict[str, Any] | None = None, **parameters: Any) -> Any:
        """Asks for a training of `line`, as the form in the UI does; the flow run's id."""
        deployment = self.api.client.read_deployment_by_name("train/line")
        experiment = load_experiment("line", changes).model_dump(mode="json")
        asked = {"experiment": experiment, **parameters}
        return self.api.client.create_flow_run_from_deployment(deployment.id, parameters=asked).id

    def until(self, flow_run_id: Any, *states: str) -> Any:
        """The flow run, as soon as it is in one of the states."""

        def look() -> Any:
            run = self.api.flow_run(flow_run_id)
            assert not run.state.is_final() or run.state.name in states, run.state
            return run if run.state.name in states else None

        return until_there(look)

    def cancel(self, flow_run_id: Any) -> None:
        """Cancels a flow run, as the button in the UI does."""
        from prefect.states import Cancelling

        self.api.client.set_flow_run_state(flow_run_id, Cancelling())

    def leases_have_expired(self) -> bool:
        """Whether no process carries out a run any more; leases may be left of runs whose end others have reported."""
        for path in self.home.glob(".prefect/alive/*.lock"):
            with expired(path) as is_expired:
                if not is_expired:
                    return False
        return True

    def states(self, flow_run_id: Any) -> dict[str, str]:
        """The state of each stage of a run that has ended; of one that was retried, at its last try."""
        return dict(self.api.stages(flow_run_id, len(STAGES)))
