"""What tells flow runs apart in the UI: a name that says experiment, device and what changed, and tags to filter by."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.runtime import flow_run

from flows.config.dated_settings import with_dates
from flows.config.experiments import place, settle
from flows.errors import InputError
from flows.planning import plan_training
from tasks.caching.decision import FORCED, Decision
from tasks.caching.reasons import Reason, ReasonKind
from tasks.caching.storage.store import project_store

#: Characters of a name; more would be cut off in the lists of the UI.
LONGEST = 100


def train_run_name() -> str:
    """Name of a train flow run, such as `line on cpu: training.learning_rate 0.03 → 0.01`."""
    asked = flow_run.parameters
    experiment = place(asked["experiment"], asked["device"])
    experiment = with_dates(experiment, asked["dated"], flow_run.scheduled_start_time, asked["timezone"])
    try:
        settled = settle(experiment)
        plan = plan_training(settled, project_store(), frozenset(asked["refresh"]), asked["until"])
    except InputError:  # the flow will fail with it
        return f"{experiment.name} on {experiment.training.device}"
    return shortened(f"{experiment.name} on {settled.training.device}: {what_is_new(plan)}")


def verify_run_name() -> str:
    """Name of a verify flow run: the run that it is of."""
    return shortened(f"verify {Path(flow_run.parameters['run']).name}")


def what_is_new(plan: Sequence[Decision]) -> str:
    """Why the stages of a plan run that do, in a few words."""
    running = [decision for decision in plan if decision.status == "will run"]
    forced = [decision.stage for decision in plan if decision.reasons == FORCED]
    changed = next((decision.reasons for decision in running if decision.reasons != FORCED), ())
    news = [summary(changed)] if changed else []
    if forced:
        news.append(f"{', '.join(forced)} forced")
    return "; ".join(news) or "nothing changed"


def summary(reasons: Sequence[Reason]) -> str:
    """The first of the reasons why a stage runs, and how many others there are."""
    first, *others = reasons
    if first.kind is ReasonKind.FIRST_RUN:
        return "first run"
    return f"{first} and {len(others)} more" if others else str(first)


def shortened(text: str) -> str:
    """A text that is not too long for a list."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def tag_run(tags: Iterable[str]) -> None:
    """Adds tags to the flow run that this is called in."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise RuntimeError("only a flow run can be tagged")
    with get_client(sync_client=True) as client:
        client.update_flow_run(context.flow_run.id, tags=sorted({*context.flow_run.tags, *tags}))
