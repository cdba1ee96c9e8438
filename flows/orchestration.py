"""The flows as Prefect runs them: each walks its wiring with stages that are Prefect tasks.

Apart from the wirings, because importing Prefect takes a second, and `workflow plan` walks the same wiring without it.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from pydantic import BaseModel, Field

from flows import pages
from flows.announcing import TRAINED, VERIFIED, announce
from flows.contact import ask
from flows.engine import LastingFlow
from flows.experiments import resolve, settle
from flows.history import read_history
from flows.history_page import PAGE, history_page
from flows.liveness import is_given_up
from flows.planning import plan_training
from flows.runs import LATEST, find_folder, find_run
from flows.train import Refreshable, StageName
from flows.train import pipeline as train_pipeline
from flows.turns import point_in_turn, take_turn
from flows.verify import pipeline as verify_pipeline
from flows.watching import ProgressArtifact, RunLog, extra_watchers
from tasks.caching.manifest import MANIFEST
from tasks.caching.prefect_run import PrefectRun, StageError, Watcher
from tasks.caching.reference import Reference
from tasks.caching.store import Store, project_store
from tasks.caching.uses import store_in_use
from tasks.caching.verification import Check, VerificationError, read_checks, write_verification
from tasks.learning.devices import fallback_notice
from tasks.learning.experiment import Experiment

Refresh = Annotated[list[Refreshable], Field(description="Stages to run even if cached; all stands for every one.")]
Until = Annotated[StageName | None, Field(description="The last stage to run; all of them when empty.")]
Device = Annotated[str, Field(description="Where to predict: auto, cpu, cuda, cuda:N or mps.")]


class VerifySettings(BaseModel):
    """What a verification depends on: the run's name, and the device that predicts."""

    run: str
    device: str


def train_run_name() -> str:
    """Name of a train flow run in the UI: the experiment and the device that it asks for."""
    experiment: Experiment = flow_run.parameters["experiment"]
    return f"{experiment.name} on {experiment.training.device}"


def verify_run_name() -> str:
    """Name of a verify flow run in the UI."""
    return f"verify {Path(flow_run.parameters['run']).name}"


@partial(LastingFlow, name="train", flow_run_name=train_run_name, persist_result=False)
def train(experiment: Experiment, refresh: Refresh = [], until: Until = None) -> str | None:  # noqa: B006 (a form's default)
    """Trains, evaluates, plots and saves a model; what has not changed is reused.

    Returns:
        The name of the run; None if `until` ended the flow before a run was saved.

    Raises:
        StageError: a stage failed; the message names it, and its cause is what happened.
    """
    store, settled = project_store(), settle(experiment)
    turn = take_turn(store)
    if note := fallback_notice(settled.requested_device, settled.training.device):
        get_run_logger().warning(note)
    forced = frozenset(refresh)
    show(experiment.name, "plan", pages.plan_page(experiment.name, plan_training(settled, store, forced, until)))
    watchers: tuple[Watcher, ...] = (RunLog(), ProgressArtifact(), *extra_watchers.get())
    with store_in_use(store) as use:
        walk = PrefectRun(experiment.name, settled, store, watchers, forced, until, use)
        saved = train_pipeline(walk)[MANIFEST]
    if not isinstance(saved, Reference):
        return None
    folder = store.locate(saved.path).parent
    if is_given_up(flow_run.id):
        get_run_logger().warning("this run was marked as ended while it ran: latest does not move to %s", folder.name)
        return folder.name
    if not point_in_turn(folder, experiment.name, store, turn):
        get_run_logger().info("a run that began later has ended before: latest does not move to %s", folder.name)
    show(experiment.name, "metrics", pages.metrics_page(folder.name, find_run(folder.name, store).metrics))
    show(experiment.name, "plots", pages.plots_page(folder.name, folder))
    if walk.reports[-1].status == "run":
        show_history(experiment.name, store)
    ask(lambda: announce(TRAINED, experiment.name, folder.name))
    return folder.name


@partial(LastingFlow, name="verify", flow_run_name=verify_run_name, persist_result=False)
def verify(run: str = LATEST, device: Device = "auto") -> str:
    """Reloads a run's checkpoint into a fresh model and shows that it predicts what training recorded.

    Returns:
        The name of the run.

    Raises:
        InputError: there is no such run, or no such device.
        StageError: a stage failed; for a wrong checkpoint, that is the verification.
    """
    store = project_store()
    folder = find_folder(run, store)
    settings = VerifySettings(run=folder.name, device=resolve(device))
    watchers: tuple[Watcher, ...] = (RunLog(), *extra_watchers.get())
    with store_in_use(store) as use:
        use(str(store.relative(folder)))
        try:
            outcome = verify_pipeline(PrefectRun(folder.name, settings, store, watchers))
        except StageError as error:
            record_verification(folder, settings, failed_checks(error))
            raise
        record_verification(folder, settings, read_checks(store.read(outcome["checks"])))
    experiment = find_run(folder.name, store).manifest.experiment["name"]
    ask(lambda: announce(VERIFIED, experiment, folder.name))
    return folder.name


def record_verification(folder: Path, settings: VerifySettings, checks: Iterable[Check]) -> None:
    """Keeps the outcome of a verification in the run's folder, and shows it in the UI."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    verification = write_verification(folder, checks, {"verified": now, **settings.model_dump()})
    show("run", "verification", pages.verification_page(folder.name, verification))


def failed_checks(error: StageError) -> tuple[Check, ...]:
    """What a failed verification found: what the failing stage told, or else only its message."""
    cause = error.__cause__
    checks = cause.checks if isinstance(cause, VerificationError) else ()
    return checks or (Check("verification", False, str(error)),)


def show_history(experiment: str, store: Store) -> None:
    """Shows the history of an experiment after a new run, without its plot, and warns if the run drifts."""
    history = read_history(experiment, store)
    if history.drifts:
        get_run_logger().warning("the run drifts: %s", "; ".join(history.rows[-1].flags))
    show(experiment, PAGE, history_page(history), history.verdict)


def show(subject: str, page: str, markdown: str, summary: str | None = None) -> None:
    """Puts a page on the flow run, under a key that is the same from run to run; the list of them has the summaries."""
    ask(lambda: create_markdown_artifact(markdown, key=pages.artifact_key(subject, page), description=summary))
