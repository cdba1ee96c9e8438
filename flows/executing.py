"""Executes one flow run in a process of its own, which `workflow serve` forks for it and a worker starts for it.

It is forked from a process that has imported Prefect, which takes a second, but nothing of the project: each run finds
the code as it is when it begins.
"""

import os
import signal
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from flows.prefect_internals import METRICS, listen_to_runner

#: What a flow run imports of Prefect, for the process that the others are forked from.
PRELOADED = [
    "prefect.artifacts",
    "prefect.engine",
    "prefect.events",
    "prefect.filesystems",
    "prefect.flow_engine",
    METRICS,
]

#: The variable in which a worker names the flow run.
FLOW_RUN = "PREFECT__FLOW_RUN_ID"


def execute_in_fork(flow_run_id: UUID, environment: Mapping[str, str]) -> None:
    """Executes a flow run, in a process that was forked for it.

    Args:
        flow_run_id: in Prefect.
        environment: that the runner gives this process.
    """
    # In a session of its own: Ctrl-C in the terminal reaches the runner alone, which ends its runs in good order.
    os.setsid()
    end_without_a_trace()
    os.environ.update(environment)
    execute_flow_run(flow_run_id)


def execute_flow_run(flow_run_id: UUID) -> None:
    """Executes a flow run to its end, as `python -m prefect.engine` does, but as a `LeasedFlow`."""
    from prefect.engine import handle_engine_signals
    from prefect.flow_engine import load_flow, load_flow_run
    from prefect.logging.loggers import flow_run_logger
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from flows.runtime.connection import keeping_contact

    listen_to_runner()
    # The process that started this one sees it end, and a flow waits at its end for the thread of its heartbeat.
    undisturbed = temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})
    with undisturbed, keeping_contact(None), handle_engine_signals(flow_run_id):
        flow_run = load_flow_run(flow_run_id)
        log: Any = flow_run_logger(flow_run)
        try:
            flow: Any = load_flow(flow_run)
        except Exception:
            log.exception("The flow cannot be loaded")
            raise
        flow.execute(flow_run)


def end_without_a_trace() -> None:
    """Lets what may have been blocked end this process with code 0 until the engine of its run has begun.

    The run has done nothing yet: the process did not fail, and who ended it, or looks after orphans, says what becomes
    of the run. Prefect would alert of a process that ends otherwise.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: os._exit(0))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGHUP})


def main() -> None:
    """Executes the flow run that the environment names."""
    end_without_a_trace()
    from flows.environment.settings import configure_prefect
    from tasks.caching.storage.store import project_store

    configure_prefect(project_store().root)
    execute_flow_run(UUID(os.environ[FLOW_RUN]))


if __name__ == "__main__":
    main()
