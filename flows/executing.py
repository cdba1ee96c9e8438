"""Carries out one flow run for `workflow serve`, in a process of its own that is forked for it.

It is forked from a process that has imported Prefect, which takes a second, but nothing of the project: each run finds
the code as it is when it begins.
"""

import os
from collections.abc import Mapping
from typing import Any
from uuid import UUID

#: What a flow run imports of Prefect, for the process that the others are forked from.
PRELOADED = [
    "prefect.artifacts",
    "prefect.engine",
    "prefect.events",
    "prefect.filesystems",
    "prefect.flow_engine",
    "prefect._internal.metrics",
]


def execute(flow_run_id: UUID, environment: Mapping[str, str]) -> None:
    """Carries out a flow run to its end, as `python -m prefect.engine` does.

    Args:
        flow_run_id: in Prefect.
        environment: what the runner tells this process.
    """
    # In a session of its own: Ctrl-C in the terminal reaches the runner alone, which ends its runs in good order.
    os.setsid()
    os.environ.update(environment)
    from prefect._internal.control_listener import configure_from_env
    from prefect.engine import handle_engine_signals
    from prefect.flow_engine import load_flow, load_flow_run, run_flow
    from prefect.logging.loggers import flow_run_logger
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    configure_from_env()
    # The runner sees the process end; for the thread of a heartbeat, the flow would wait up to a second at its end.
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}), handle_engine_signals(flow_run_id):
        flow_run = load_flow_run(flow_run_id)
        log: Any = flow_run_logger(flow_run)
        try:
            flow = load_flow(flow_run)
        except Exception:
            log.exception("The flow cannot be loaded")
            raise
        run_flow(flow, flow_run=flow_run, error_logger=log)
