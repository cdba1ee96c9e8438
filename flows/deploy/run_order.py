"""In which order flow runs that are due are taken: those that people asked for, then schedules, then verifications.

Prefect takes them by the time for which they were planned: a person would wait for all that has piled up while nothing
was served.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flows.runs.verifications import SUPERFLUOUS, is_triggered, superfluous

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun


def rank(run: "FlowRun") -> int:
    """0 for a run that a person asked for, if only for a second try; 1 for a schedule's; 2 for a verification."""
    if run.run_count:
        return 0
    return 2 if is_triggered(run) else int(run.auto_scheduled)


def in_order(runs: Iterable["FlowRun"]) -> "list[FlowRun]":
    """Flow runs in the order in which they are to be taken."""
    latest = datetime.max.replace(tzinfo=UTC)
    return sorted(runs, key=lambda run: (rank(run), run.next_scheduled_start_time or latest))


async def without_superfluous(runs: "Sequence[FlowRun]", client: "PrefectClient") -> "list[FlowRun]":
    """Flow runs in order, without the verifications that need not take place; those are cancelled.

    Args:
        runs: that are due and were not taken yet.
        client: of the server.
    """
    from prefect.states import Cancelled

    ordered = in_order(runs)
    left_out = {run.id for run in superfluous(ordered)}
    for flow_run_id in left_out:
        await client.set_flow_run_state(flow_run_id, Cancelled(message=SUPERFLUOUS))
    return [run for run in ordered if run.id not in left_out]
