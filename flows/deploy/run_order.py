"""The order in which due flow runs are started: those requested by a person, then scheduled ones, then verifications.

Prefect orders them by their scheduled time: a person would wait for everything that accumulated while nothing was
served.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flows.runs.verifications import SUPERFLUOUS, is_triggered, superfluous

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun


def priority(run: "FlowRun") -> int:
    """Returns 0 for a run that a person requested or retried, 1 for a scheduled run, 2 for a verification."""
    if run.run_count:
        return 0
    return 2 if is_triggered(run) else int(run.auto_scheduled)


def by_priority(runs: Iterable["FlowRun"]) -> "list[FlowRun]":
    """Returns flow runs in the order in which to start them."""
    latest = datetime.max.replace(tzinfo=UTC)
    return sorted(runs, key=lambda run: (priority(run), run.next_scheduled_start_time or latest))


async def runs_to_start(runs: "Sequence[FlowRun]", client: "PrefectClient") -> "list[FlowRun]":
    """Returns the flow runs to start, in order; cancels superfluous verifications.

    Args:
        runs: Due and not started yet.
        client: Of the server.
    """
    from prefect.states import Cancelled

    ordered = by_priority(runs)
    superfluous_ids = {run.id for run in superfluous(ordered)}
    for flow_run_id in superfluous_ids:
        await client.set_flow_run_state(flow_run_id, Cancelled(message=SUPERFLUOUS))
    return [run for run in ordered if run.id not in superfluous_ids]
