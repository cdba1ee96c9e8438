"""The plan of the train flow: what would run, and why. Imports neither Prefect nor torch."""

from flows.config.experiments import SettledExperiment
from flows.runs.layout import require_layout
from flows.train import STAGES, pipeline, require_reached
from tasks.caching.decision import Decision, Planner
from tasks.caching.storage.store import Store


def plan_training(
    experiment: SettledExperiment, store: Store, refresh: frozenset[str] = frozenset(), until: str | None = None
) -> list[Decision]:
    """What would become of each stage of the train flow; runs and writes nothing.

    Raises:
        InputError: a stage that is to be refreshed comes after the last one to run, or the store cannot be worked in.
    """
    require_reached(refresh, until)
    require_layout(store, STAGES)
    planner = Planner(experiment.name, experiment, store, refresh, until)
    pipeline(planner)
    return planner.decisions
