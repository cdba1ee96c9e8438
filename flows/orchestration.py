"""The flows as Prefect runs them: each walks its wiring with stages that are Prefect tasks.

Apart from the wirings, because importing Prefect takes a second, and `workflow plan` walks the same wiring without it.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Cancelled
from pydantic import BaseModel, Field

from flows import pages
from flows.announcing import TRAINED, VERIFIED, announce
from flows.contact import ask
from flows.engine import LastingFlow
from flows.experiments import place, resolve, settle
from flows.liveness import is_given_up
from flows.naming import tag_run, train_run_name, verify_run_name
from flows.one_at_a_time import IfRunning, one_at_a_time
from flows.planning import plan_training
from flows.progress import TrainingProgress
from flows.runs import find_folder, find_run
from flows.showing import show_history, show_page, show_run
from flows.train import Refreshable, StageName
from flows.train import pipeline as train_pipeline
from flows.turns import point_in_turn, take_turn
from flows.verify import pipeline as verify_pipeline
from flows.watching import RunLog, extra_watchers
from tasks.caching.exclusion import StandBackError
from tasks.caching.manifest import MANIFEST
from tasks.caching.pointers import LATEST, require_pointers
from tasks.caching.prefect_run import PrefectRun, StageError, Watcher
from tasks.caching.reference import Reference
from tasks.caching.store import Store, project_store
from tasks.caching.uses import store_in_use
from tasks.caching.verification import Check, VerificationError, read_checks, write_verification
from tasks.learning.devices import DEVICE, fallback_notice
from tasks.learning.experiment import Experiment

#: Where a flow does its work, as it may be asked for.
Device = Annotated[str, Field(pattern=rf"^({DEVICE})$")]

Retries = Annotated[int, Field(ge=0, le=10)]


class VerifySettings(BaseModel):
    """What a verification depends on: the run's name, and the device that predicts."""

    run: str
    device: str


def announce_trained(flow: Flow[..., Any], flow_run: FlowRun, state: State[str | None]) -> None:
    """Tells that a run was trained, as soon as Prefect knows that the flow has completed."""
    if (run := state.result()) is not None:
        announce_run(TRAINED, run)


def announce_run(event: str, run: str) -> None:
    """Tells what became of a run."""
    experiment = find_run(run, project_store()).manifest.experiment["name"]
    ask(lambda: announce(event, experiment, run))


@partial(
    LastingFlow, name="train", flow_run_name=train_run_name, persist_result=False, on_completion=[announce_trained]
)
def train(
    experiment: Experiment,
    refresh: list[Refreshable] = [],  # noqa: B006 (a form's default)
    until: StageName | None = None,
    device: Device | None = None,
    if_running: IfRunning = "wait",
    retries: Retries = 0,
) -> "str | State[None] | None":
    """Trains, evaluates, plots and saves a model; what has not changed is reused.

    Args:
        experiment: Everything that decides the outcome.
        refresh: Stages to run even if cached; all stands for every one.
        until: The last stage to run; all of them when empty.
        device: Where to train, in place of the experiment's own: auto, cpu, cuda, cuda:N or mps.
        if_running: What this run does while another run of the experiment goes on: wait for it, or be cancelled.
        retries: How often a stage is tried again after a fault that may pass, such as a full disk.

    Returns:
        The name of the run; None if `until` ended the flow before a run was saved. A state, in place of both, if the
        run was not to take place.

    Raises:
        StageError: a stage failed; the message names it, and its cause is what happened.
    """
    store = project_store()
    try:
        with one_at_a_time(experiment.name, if_running, store):
            return train_now(place(experiment, device), frozenset(refresh), until, retries, store)
    except StandBackError as error:
        return Cancelled(message=str(error))


def train_now(
    experiment: Experiment, forced: frozenset[str], until: str | None, retries: int, store: Store
) -> str | None:
    """Trains; see `train`."""
    require_pointers(experiment.name, store)
    settled, turn = settle(experiment), take_turn(store)
    if note := fallback_notice(settled.requested_device, settled.training.device):
        get_run_logger().warning(note)
    ask(lambda: tag_run((experiment.name, settled.training.device, *(f"refreshed {stage}" for stage in forced))))
    plan = plan_training(settled, store, forced, until)
    show_page(experiment.name, "plan", pages.plan_page(experiment.name, plan), pages.plan_summary(plan))
    watchers: tuple[Watcher, ...] = (RunLog(), TrainingProgress(experiment.name), *extra_watchers.get())
    with store_in_use(store) as use:
        walk = PrefectRun(experiment.name, settled, store, watchers, forced, until, use, retries)
        saved = train_pipeline(walk)[MANIFEST]
    if not isinstance(saved, Reference):
        return None
    folder = store.locate(saved.path).parent
    if is_given_up(flow_run.id):
        get_run_logger().warning("this run was marked as ended while it ran: latest does not move to %s", folder.name)
        return folder.name
    if not point_in_turn(folder, experiment.name, store, turn):
        get_run_logger().info("a run that began later has ended before: latest does not move to %s", folder.name)
    show_run(find_run(folder.name, store), experiment.name, store)
    if walk.reports[-1].status == "run":
        show_history(experiment.name, store)
    return folder.name


@partial(LastingFlow, name="verify", flow_run_name=verify_run_name, persist_result=False)
def verify(run: str = LATEST, device: Device = "auto", retries: Retries = 0) -> str:
    """Reloads a run's checkpoint into a fresh model and shows that it predicts what training recorded.

    Args:
        run: A run's name, its folder's path, latest or EXPERIMENT-latest.
        device: Where to predict: auto, cpu, cuda, cuda:N or mps.
        retries: How often a stage is tried again after a fault that may pass.

    Returns:
        The name of the run.

    Raises:
        InputError: there is no such run, or no such device.
        StageError: a stage failed; for a wrong checkpoint, that is the verification.
    """
    store = project_store()
    folder = find_folder(run, store)
    settings = VerifySettings(run=folder.name, device=resolve(device))
    ask(lambda: tag_run((experiment_of(folder), settings.device)))
    watchers = (RunLog(), *extra_watchers.get())
    with store_in_use(store) as use:
        use(str(store.relative(folder)))
        try:
            outcome = verify_pipeline(PrefectRun(folder.name, settings, store, watchers, retries=retries))
        except StageError as error:
            record_verification(folder, settings, failed_checks(error))
            raise
        record_verification(folder, settings, read_checks(store.read(outcome["checks"])))
    announce_run(VERIFIED, folder.name)
    return folder.name


def record_verification(folder: Path, settings: VerifySettings, checks: Iterable[Check]) -> None:
    """Keeps the outcome of a verification in the run's folder, and shows it in the UI."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    verification = write_verification(folder, checks, {"verified": now, **settings.model_dump()})
    page = pages.verification_page(folder.name, verification)
    show_page(experiment_of(folder), "verification", page, pages.verification_summary(folder.name, verification))


def experiment_of(folder: Path) -> str:
    """The experiment that a run is of, as its name tells: its manifest may be what is wrong with it."""
    return re.sub(r"-\d{8}-\d{6}(-\d+)?$", "", folder.name)


def failed_checks(error: StageError) -> tuple[Check, ...]:
    """What a failed verification found: what the failing stage told, or else only its message."""
    cause = error.__cause__
    checks = cause.checks if isinstance(cause, VerificationError) else ()
    return checks or (Check("verification", False, str(error)),)
