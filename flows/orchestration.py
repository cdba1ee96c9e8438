"""The flows as Prefect runs them: each walks its wiring with stages that are Prefect tasks.

Apart from the wirings, because importing Prefect takes a second, and `workflow plan` walks the same wiring without it.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Cancelled
from pydantic import BaseModel, Field

from flows.config.dated_settings import UTC_NAME, Dated, TimeZone
from flows.config.experiments import SettledExperiment, resolve
from flows.environment.identity import identity
from flows.runs.folders import find_folder, find_run
from flows.runs.history import read_row, rejections_of
from flows.runs.latest import point_if_newest, take_sequence_number
from flows.runs.layout import require_layout
from flows.runs.verifications import is_pending, is_triggered, is_verified, was_verified
from flows.runs.wording import in_one_line
from flows.runtime.concurrency import IfRunning, one_at_a_time
from flows.runtime.connection import try_request
from flows.runtime.engine import LeasedFlow
from flows.runtime.events import CONFIRMED, TRAINED
from flows.runtime.observers import RunEvents, RunLog, emit_run_event
from flows.runtime.run_names import tag_run, train_run_name, verify_run_name
from flows.runtime.training_request import TrainingRequest, training_request
from flows.runtime.zombie_runs import has_ended_in_prefect
from flows.train import Refreshable, StageName
from flows.train import pipeline as train_pipeline
from flows.ui.progress import TrainingProgress
from flows.ui.publication import RunPages
from flows.verify import pipeline as verify_pipeline
from tasks.caching.gc.uses import store_in_use
from tasks.caching.key import pin_code
from tasks.caching.locking.exclusive import RunSkippedError
from tasks.caching.observer import Observers, SavedRun, Verification, extra_observers
from tasks.caching.prefect_run import PrefectRun, StageError
from tasks.caching.runs.manifest import MANIFEST, manifest_digest
from tasks.caching.runs.pointers import LATEST, require_pointers
from tasks.caching.runs.verification import Check, VerificationError, read_checks, write_verification
from tasks.caching.stage import StageReport, stages
from tasks.caching.storage.reference import Reference
from tasks.caching.storage.run_name import RunName
from tasks.caching.storage.store import Store, UnusableFileError, project_store
from tasks.learning.config.devices import DEVICE, fallback_notice
from tasks.learning.config.experiment import Experiment
from tasks.train import train as train_stage

#: Where a flow does its work, as it may be asked for.
Device = Annotated[str, Field(pattern=rf"^({DEVICE})$")]

Retries = Annotated[int, Field(ge=0, le=10)]

#: What a person says of a flow run.
Notes = Annotated[str, Field(max_length=2000)]

#: The form in the UI shows the parameters by position: the experiment, which has most of the fields, comes last.
EXPERIMENT: Any = Field(json_schema_extra={"position": 9})

#: A SHA-256 as `sha256sum` prints it.
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class VerifySettings(BaseModel):
    """What a verification depends on.

    Attributes:
        run: its name.
        device: that predicts.
        expect: the digest that its manifest must have; None for any.
        digest: that its manifest has as the verification begins; None if it cannot be read.
    """

    run: str
    device: str
    expect: str | None = None
    digest: str | None = None


def emit_trained(flow: Flow[..., Any], flow_run: FlowRun, state: State[str | None]) -> None:
    """Emits that a run was trained, as soon as Prefect knows that the flow has completed.

    That event has the run verified: it is emitted once, until the verification has begun.
    """
    store = project_store()
    if (run := state.result()) is None:
        return
    if is_verified(find_run(run, store)):
        emit_run_event(CONFIRMED, run)
    elif not try_request(lambda: has_pending_verification(run, store)):
        emit_run_event(TRAINED, run)


def has_pending_verification(run: str, store: Store) -> bool:
    """Whether a verification of a run was asked for, and has not begun."""
    with get_client(sync_client=True) as client:
        return is_pending(client, run, store.root)


@partial(LeasedFlow, name="train", flow_run_name=train_run_name, persist_result=False, on_completion=[emit_trained])
def train(
    experiment: Experiment = EXPERIMENT,
    refresh: list[Refreshable] = [],  # noqa: B006 (a form's default)
    until: StageName | None = None,
    device: Device | None = None,
    notes: Notes = "",
    if_running: IfRunning = "wait",
    retries: Retries = 0,
    dated: list[Dated] = [],  # noqa: B006 (a form's default)
    timezone: TimeZone = UTC_NAME,
) -> "str | State[None] | None":
    """Trains, evaluates, plots and saves a model; what has not changed is reused.

    Args:
        experiment: Everything that decides the outcome. A field that is left empty keeps the deployment's value.
        refresh: Stages to run even if cached; all stands for every one. Default none.
        until: The last stage to run. Default: all of them.
        device: Where to train: auto (cuda, else mps, else cpu), cpu, cuda, cuda:N or mps. Default: the experiment's.
        notes: What to remember of this run; shown in its log and on its plan. At most 2,000 characters; default none.
        if_running: While another run of the experiment is running: wait for it, or cancel this one. Default wait.
        retries: How often a stage is tried again after a fault that may pass, up to 10. Default 0; a deployment's, 3.
        dated: Seeds that are the date on which the run was due, such as 20261127. Default none.
        timezone: In which the run has that date, such as Europe/Berlin. Default UTC.

    Returns:
        The name of the run; None if `until` ended the flow before a run was saved; a Cancelled state if it was skipped.

    Raises:
        StageError: a stage failed; the message names it, and its cause is what happened.
    """
    store = project_store()
    try:
        with one_at_a_time(experiment.name, if_running, store) as waited:
            request = training_request(
                experiment=experiment, refresh=refresh, until=until, device=device, dated=dated, timezone=timezone
            )
            return run_training(request.planned_again(store) if waited else request, store, retries, notes)
    except RunSkippedError as error:
        return Cancelled(message=str(error))


def run_training(request: TrainingRequest, store: Store, retries: int, notes: str) -> str | None:
    """Runs the pipeline of a training and reports what comes of it; returns the run's name, None without one."""
    pin_code(stages(train_pipeline))
    settled, name = request.experiment, request.experiment.name
    require_pointers(name, store)
    number = take_sequence_number(store)
    tags = (name, settled.training.device, *(f"refreshed {stage}" for stage in request.refresh))
    try_request(lambda: tag_run(tags))
    observer = Observers(
        RunLog(notes and f"notes: {in_one_line(notes)}", fallback_note(settled)),
        RunPages(name, store, notes),
        TrainingProgress(name),
        RunEvents(),
        *extra_observers.get(),
    )
    with observer.shown_failure():
        observer.on_plan(request.plan)
        with store_in_use(store) as use:
            run = PrefectRun(name, settled, store, observer, request.refresh, request.until, use, retries)
            saved = train_pipeline(run)[MANIFEST]
        if not isinstance(saved, Reference):
            return None
        folder = store.locate(saved.path).parent
        if update_latest(folder, name, store, number):
            observer.on_saved(describe_saved(folder, run.reports, store))
        return folder.name


def fallback_note(settled: SettledExperiment) -> str:
    """That a training is on another device than was asked for; empty if it is not."""
    return fallback_notice(settled.device_asked_for, settled.training.device) or ""


def update_latest(folder: Path, experiment: str, store: Store, number: int) -> bool:
    """Has `latest` point to a run, unless a flow that began later has set it; False if this flow run was given up."""
    if has_ended_in_prefect(flow_run.id):
        get_run_logger().warning("this run was marked as ended while it ran: latest does not move to %s", folder.name)
        return False
    if not point_if_newest(folder, experiment, store, number):
        get_run_logger().info("a run that began later finished first: latest does not move to %s", folder.name)
    return True


def describe_saved(folder: Path, reports: Sequence[StageReport], store: Store) -> SavedRun:
    """What observers see of the run that a flow run led to.

    Args:
        folder: of the run.
        reports: of the flow run's stages.
        store: that the run is in.
    """
    run, is_new = find_run(folder.name, store), reports[-1].status == "run"
    trained = any(report.name == train_stage.name and report.status == "run" for report in reports)
    if not is_new:
        return SavedRun(folder, trained, is_new, rejections_of(run, store), drift=())
    row = read_row(run, store)
    return SavedRun(folder, trained, is_new, row.rejections, row.flags)


@partial(LeasedFlow, name="verify", flow_run_name=verify_run_name, persist_result=False)
def verify(
    run: str = LATEST,
    device: Device = "auto",
    retries: Retries = 0,
    expect: Digest | None = None,
    store: str | None = None,
) -> "str | State[None]":
    """Reloads a run's checkpoint into a fresh model and shows that it predicts what training recorded.

    Args:
        run: A run's name, its folder's path, latest or EXPERIMENT-latest.
        device: Where to predict: auto, cpu, cuda, cuda:N or mps.
        retries: How often a stage is tried again after a fault that may pass.
        expect: The SHA-256 that run.json must have, as training printed it; any when empty.
        store: Identity of the run's store, from the event that triggered this; not checked when empty.

    Returns:
        The name of the run; a Cancelled state if the verification was skipped.

    Raises:
        InputError: there is no such run, or no such device.
        StageError: a stage failed; for a wrong checkpoint, that is the verification.
    """
    own = project_store()
    if store and store != identity(own.root):
        return Cancelled(message=f"{run} is in another store that reports to this server: nothing to verify here")
    context = FlowRunContext.get()
    if context and is_triggered(context.flow_run) and is_verified(find_run(run, own)):
        return Cancelled(message=f"{run} is verified already, as it is")
    return run_verification(run, device, retries, expect, own)


def run_verification(run: str, device: str, retries: int, expect: str | None, store: Store) -> str:
    """Runs the pipeline of a verification, keeps its outcome and emits it; see `verify`."""
    folder = find_folder(run, store)
    require_layout(store, [stage.name for stage in stages(verify_pipeline)])
    settings = VerifySettings(run=folder.name, device=resolve(device), expect=expect, digest=readable_digest(folder))
    experiment, is_again = experiment_name(folder), was_verified(folder, settings.digest)
    try_request(lambda: tag_run((experiment, settings.device)))
    observer = Observers(RunLog(), RunPages(experiment, store), RunEvents(), *extra_observers.get())
    with observer.shown_failure(), store_in_use(store) as use:
        use(str(store.relative(folder)))
        try:
            outcome = verify_pipeline(PrefectRun(folder.name, settings, store, observer, retries=retries))
        except StageError as error:
            failed = keep_verification(folder, settings, failed_checks(error), store)
            observer.on_verified(Verification(folder, failed, is_again))
            raise
        kept = keep_verification(folder, settings, read_checks(store.read(outcome["checks"])), store)
        observer.on_verified(Verification(folder, kept, is_again))
    return folder.name


def keep_verification(
    folder: Path, settings: VerifySettings, checks: Iterable[Check], store: Store
) -> Mapping[str, Any]:
    """Keeps the outcome of a verification in the run's folder, and that the run passed; returns it."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    verification = write_verification(folder, checks, {"verified": now, **settings.model_dump()})
    if verification["passed"]:
        store.remember_run(folder.name, verified=True)
    return verification


def readable_digest(folder: Path) -> str | None:
    """The SHA-256 of a run's manifest; None if it cannot be read, which the verification reports."""
    try:
        return manifest_digest(folder)
    except (OSError, UnusableFileError):
        return None


def experiment_name(folder: Path) -> str:
    """The experiment that a run is of, as its name says: its manifest may be what is wrong with it."""
    name = RunName.parse(folder.name)
    return name.experiment if name else folder.name


def failed_checks(error: StageError) -> tuple[Check, ...]:
    """What a failed verification found: what the failing stage found, or else only its message."""
    cause = error.__cause__
    checks = cause.checks if isinstance(cause, VerificationError) else ()
    return checks or (Check("verification", False, str(error)),)
