"""The plan of the train flow: what would run, and why. Imports neither Prefect nor torch."""

from flows.config.experiments import SettledExperiment
from flows.errors import InputError
from flows.runs.layout import require_layout
from flows.train import STAGES, pipeline, require_reached
from tasks.caching.decision import Decision, Planner
from tasks.caching.external import ExternalInputError
from tasks.caching.storage.store import Store


def plan_training(
    experiment: SettledExperiment, store: Store, refresh: frozenset[str] = frozenset(), until: str | None = None
) -> list[Decision]:
    """What would become of each stage of the train flow; runs and writes nothing.

    Raises:
        InputError: a stage that is to be refreshed comes after the last one to run, the store cannot be worked in, or
            an external input cannot be used.
    """
    require_reached(experiment, refresh, until)
    require_layout(store, STAGES)
    planner = Planner(experiment.name, experiment, store, refresh, until)
    try:
        pipeline(planner)
    except ExternalInputError as error:
        raise InputError(str(error)) from error
    return planner.decisions
