"""Which verifications of runs are needed: one for a run that was trained, and none for one that is verified already."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.environment.identity import ANY_STORE, store_tag
from flows.runs.folders import RunFolder, read_verification

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

#: What Prefect shows of a verification that was asked for while another one of the same run was pending.
SUPERFLUOUS = "Another verification of this run is pending."


def is_verified(run: RunFolder) -> bool:
    """Whether a run passed its last verification, and has the very manifest that was verified then."""
    return was_verified(run.folder, run.digest)


def was_verified(folder: Path, digest: str | None) -> bool:
    """Whether a run passed its last verification, and had the manifest with this digest then."""
    verification = read_verification(folder) or {}
    return verification.get("passed") is True and verification.get("digest") == digest


def is_pending(client: "SyncPrefectClient", run: str, root: Path) -> bool:
    """Whether a verification of a run was asked for, and has not begun."""
    from prefect.client.schemas.filters import FlowFilter, FlowRunFilter

    flow = FlowFilter.model_validate({"name": {"any_": ["verify"]}})
    chosen: dict[str, Any] = {
        "state": {"type": {"any_": ["SCHEDULED", "PENDING"]}},
        "tags": {"any_": [store_tag(root), ANY_STORE]},
    }
    found = client.read_flow_runs(flow_filter=flow, flow_run_filter=FlowRunFilter.model_validate(chosen))
    return any(is_triggered(pending) and pending.parameters.get("run") == run for pending in found)


def is_triggered(run: "FlowRun | None") -> bool:
    """Whether a flow run is a verification that the event of a training asked for."""
    if run is None or run.created_by is None:
        return False
    return run.created_by.type == "AUTOMATION" and "run" in run.parameters


def superfluous(runs: Iterable["FlowRun"]) -> "list[FlowRun]":
    """Of flow runs that are due, the verifications of a run of which another one comes first."""
    seen: set[tuple[Any, Any]] = set()
    found = []
    for run in runs:
        if is_triggered(run):
            verified = (run.parameters.get("run"), run.parameters.get("store"))
            if verified in seen:
                found.append(run)
            seen.add(verified)
    return found
