"""Runs stages as Prefect tasks: the one module of the cache that imports Prefect.

Prefect does the bookkeeping (states, locks at the right time, the look-up and the commit of a record). This module
supplies the key, the form of a record, and the check of whether it may be used. Facts about Prefect 3.8 behind this:

- Its cache treats *any* exception while a record is read as a miss (`ResultStore._exists`). So the serializer checks
  every artifact that a record names and raises if one is damaged: the stage then runs again, and replaces it.
- An exception inside `compute_key` would be logged and the stage would run uncached. So the key is computed before,
  where an error is seen, and the policy only returns it.
- Its own file storage writes in place. So records are written by `replace_file`.
- It lets the file name the serializer that reads it, pickle included. So it gets a new envelope: see `seal`.
- `key_storage` is not set: with it, a hit would read only metadata, and never notice a damaged artifact.
"""

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from prefect import Task
from prefect.cache_policies import NO_CACHE, CachePolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.filesystems import LocalFileSystem
from prefect.serializers import Serializer
from prefect.tasks import exponential_backoff
from prefect.transactions import IsolationLevel
from pydantic import BaseModel, PrivateAttr

from tasks.caching.decision import FORCED, NEVER_CACHED, Walk, examine, is_forced, look_outside
from tasks.caching.execution import perform
from tasks.caching.external import ExternalInputError, remember
from tasks.caching.interruption import require_uninterrupted
from tasks.caching.key import StageCall, stage_call
from tasks.caching.locking.lock import FlockManager
from tasks.caching.observer import Observer
from tasks.caching.reasons import Reason, ReasonKind, RunStatus
from tasks.caching.records import Record, check_record, open_envelope, record_name, record_path, remember_last
from tasks.caching.stage import Stage, StageContext, StageReport
from tasks.caching.storage.durable import replace_file
from tasks.caching.storage.errors import describe_error, is_transient, require_no_folder, require_room
from tasks.caching.storage.ownership import own_data
from tasks.caching.storage.reference import Expected, Reference
from tasks.caching.storage.stage_checkpoints import StageCheckpoints
from tasks.caching.storage.store import Store, project_store, read_file

#: Seconds before the first retry of a stage; they double from one retry to the next.
BACKOFF_SECONDS = 10.0


class StageError(Exception):
    """A stage failed; the cause is what happened."""


class Finished:
    """A record as tasks return it: a plain object, because Prefect walks through every dataclass that it is given."""

    def __init__(self, record: Record) -> None:
        self.record = record


class RecordSerializer(Serializer):  # Prefect cannot dispatch on a parametrised one
    """Records as JSON; reading one checks every artifact that it names."""

    type: Literal["workflow-record"] = "workflow-record"

    def dumps(self, obj: Finished) -> bytes:
        """The record as JSON."""
        return obj.record.to_json()

    def loads(self, blob: bytes) -> Finished:
        """The record, if it and everything that it names is intact.

        Raises:
            UnreadableRecordError: it is not a record.
            DamagedArtifactError: an artifact that it names is missing or altered.
        """
        return Finished(check_record(Record.from_json(blob), project_store()))


class RecordFiles(LocalFileSystem):
    """Prefect's local file system with durable, atomic writes, and reads that accept only the record of the key."""

    _block_type_name = "Stage Records"
    _block_type_slug = "stage-records"
    _failure: str = PrivateAttr(default="Prefect did not ask for it")

    @property
    def failure(self) -> str:
        """Why the record was not written, which Prefect only logs; empty if it was."""
        return self._failure

    def read_path(self, path: str, _sync: bool = True) -> bytes:  # type: ignore[override]
        """Reads a record, if it is the one of the key that it lies under; called by the synchronous engine only.

        Raises:
            OSError: there is none.
            UnusableFileError: it is no plain file, or cannot be read.
            UnreadableRecordError: it belongs to another key.
        """
        place = self._resolve_path(path)
        return seal(open_envelope(read_file(place), key=Path(path).stem), place)

    def _resolve_path(self, path: str) -> Path:
        """Where a record lies; unlike Prefect's own method, this follows no links."""
        return Path(str(self.basepath), path)

    def write_path(self, path: str, content: bytes, _sync: bool = True) -> None:  # type: ignore[override]
        """Writes a record atomically; called by the synchronous engine only."""
        try:
            replace_file(self._resolve_path(path), content)
        except OSError as error:
            self._failure = describe_error(error)
            raise
        self._failure = ""


def seal(record: Record, place: Path) -> bytes:
    """A record in an envelope of Prefect's result store that names the serializer of records, and no other."""
    metadata = {"storage_key": str(place), "serializer": {"type": RecordSerializer().type}}
    return json.dumps({"metadata": metadata, "result": record.to_json().decode()}).encode()


@dataclass
class KeyPolicy(CachePolicy):
    """Gives Prefect the key that the call already has, as the name of its record."""

    name: str = ""

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str:
        """Where the call's record lies, relative to the records' folder."""
        return self.name


@dataclass
class PrefectRun:
    """Walks a flow's wiring and runs each stage as a Prefect task, or reuses its record.

    Attributes:
        experiment: name under which the last ingredients are kept.
        settings: what the stages take their configs from.
        store: where records and artifacts lie.
        observer: sees what becomes of each stage.
        refresh: names of the stages that run even if cached; "all" stands for every one.
        until: the last stage to run; None for all.
        use: called with each record's path before the look-up; see `tasks.caching.gc.uses`.
        retries: how often a stage is retried after a transient error.
        reports: what became of the stages so far.
    """

    experiment: str
    settings: BaseModel
    store: Store
    observer: Observer = field(default_factory=Observer)
    refresh: frozenset[str] = frozenset()
    until: str | None = None
    use: Callable[[str], None] = lambda path: None
    retries: int = 0
    reports: list[StageReport] = field(default_factory=list)
    _walk: Walk = field(default_factory=Walk)
    _finished: list[Finished] = field(default_factory=list)
    _has_room: bool = False

    def __call__(self, stage: Stage[Any], /, *upstream: Mapping[str, Any]) -> Expected:
        """Runs one stage, or reuses its record; returns its artifacts, or pending ones past `until`."""
        require_uninterrupted()
        if not stage.takes_part_with(self.settings):
            return {}
        if self.until in {report.name for report in self.reports}:
            return stage.pending()
        call = self._call(stage, self._walk.take(stage, upstream))
        if stage.cached:
            self.use(record_path(call))
        reusable, reasons = self._look_up(call)
        record, reused = self._perform(call, reasons)
        if reused and not reusable:
            # While this run waited for the lock.
            reasons = (Reason(ReasonKind.COMPUTED_MEANWHILE),)
        self._report(call, record, reasons, reused=reused)
        return record.outputs

    def _call(self, stage: Stage[Any], inputs: Mapping[str, Reference]) -> StageCall:
        """A stage with all that it needs to run.

        Raises:
            StageError: one of its external inputs cannot be used.
        """
        try:
            external = look_outside(stage, self.settings, self.experiment, self.store)
        except ExternalInputError as error:
            raise StageError(f"stage {stage.name} failed: {error}") from error
        return stage_call(stage, self.settings, inputs, external)

    def _look_up(self, call: StageCall) -> tuple[bool, tuple[Reason, ...]]:
        """Whether the stage can be reused, as far as it is known before, and why; the observer sees it start."""
        record: Record | None = None
        if not call.stage.cached:
            reasons: tuple[Reason, ...] = NEVER_CACHED
        elif is_forced(call.stage, self.refresh):
            reasons = FORCED
        else:
            record, reasons = examine(call, self.experiment, self.store)
        if record is None:
            self.observer.on_stage_start(call.stage.name, reasons)
        return record is not None, reasons

    def _perform(self, call: StageCall, reasons: tuple[Reason, ...]) -> tuple[Record, bool]:
        """The record of a stage, and whether it was there already."""
        asking = StageReport(call.stage.name, call.key, "running", reasons)
        context = self._context(call, (*self.reports, asking))
        forced = is_forced(call.stage, self.refresh)
        task = stage_task(call, self._work(call, context, forced), self.store, refresh=forced, retries=self.retries)
        taken = {reference.digest for reference in call.inputs.values()}
        # Prefect draws an arrow in its UI from every earlier result that it finds among the parameters.
        upstream = [done for done in self._finished if taken & {made.digest for made in done.record.outputs.values()}]
        state: State[Finished] = task(upstream, return_state=True)
        try:
            finished = state.result()
        except Exception as error:
            raise StageError(f"stage {call.stage.name} failed: {describe_error(error)}") from error
        self._finished.append(finished)
        reused, records = state.name == "Cached", task.result_storage
        # Prefect only logs it. That there is a record says nothing: it may be an older one, or not yet be on the disk.
        if not reused and isinstance(records, RecordFiles) and records.failure:
            raise StageError(f"stage {call.stage.name} ran, but its record could not be written: {records.failure}")
        if context.stage_checkpoints is not None:
            context.stage_checkpoints.clear()
        return finished.record, reused

    def _work(self, call: StageCall, context: StageContext, forced: bool) -> Callable[[list[Finished]], Finished]:
        """What the stage's task does in each attempt."""

        def work(upstream: list[Finished]) -> Finished:
            attempt = current_attempt()
            if forced and context.stage_checkpoints is not None and attempt == 1:
                context.stage_checkpoints.clear()
            try:
                if not self._has_room:
                    require_room(self.store)
                    own_data(self.store)
                    self._has_room = True
                if call.stage.cached:
                    require_no_folder(self.store.locate(record_path(call)))
                return Finished(perform(call, context))
            except Exception as error:
                if is_transient(error) and attempt <= self.retries:
                    seconds = BACKOFF_SECONDS * 2 ** (attempt - 1)
                    context.notice(f"try {attempt} failed, the next begins in {seconds:g} s: {describe_error(error)}")
                raise

        return work

    def _context(self, call: StageCall, lineage: tuple[StageReport, ...]) -> StageContext:
        """Where a stage works in this run."""
        name = call.stage.name
        checkpoints = StageCheckpoints(self.store, name, call.key) if call.stage.cached else None
        progress, notice = partial(self.observer.on_progress, name), partial(self.observer.on_notice, name)
        resume = partial(self.observer.on_resume, name)
        external = {input_name: file.path for input_name, file in call.external.items()}
        return StageContext(name, self.store, progress, notice, checkpoints, external, lineage, resume)

    def _report(self, call: StageCall, record: Record, reasons: tuple[Reason, ...], *, reused: bool) -> None:
        """Keeps what became of a stage, and shows it to the observer."""
        if call.stage.cached:
            self._remember(call)
        status: RunStatus = "reused" if reused else "run"
        report = StageReport(call.stage.name, call.key, status, reasons, record.seconds, record.outputs)
        self.reports.append(report)
        self.observer.on_stage_end(report)

    def _remember(self, call: StageCall) -> None:
        """Keeps the ingredients of a stage, so that the next run can say what changed."""
        try:
            remember_last(self.experiment, call, self.store)
            remember(call.stage.name, self.experiment, call.external, self.store)
        except OSError as error:
            raise StageError(
                f"stage {call.stage.name} ran, but what it was made of could not be noted: {describe_error(error)}"
            ) from error


def stage_task(
    call: StageCall, work: Callable[[list[Finished]], Finished], store: Store, *, refresh: bool, retries: int
) -> Task[[list[Finished]], Finished]:
    """A call as a Prefect task.

    Args:
        call: of a stage.
        work: takes the results that the stage builds on, from which Prefect draws the arrows in its UI.
        store: where its record lies.
        refresh: whether the work is done even if there is a record.
        retries: how often it is retried after a transient error.
    """
    stage, records = call.stage, store.records
    described: dict[str, Any] = {
        "name": stage.name,
        "task_run_name": stage.name,
        "description": inspect.getdoc(stage.function),
        "retries": retries,
        "retry_delay_seconds": exponential_backoff(BACKOFF_SECONDS),
        "retry_condition_fn": may_pass,
    }
    if not stage.cached:
        return Task(work, **described, cache_policy=NO_CACHE, persist_result=False)
    policy = KeyPolicy(
        name=record_name(call),
        isolation_level=IsolationLevel.SERIALIZABLE,
        lock_manager=FlockManager(records / "locks"),
    )
    task = Task(
        work,
        **described,
        cache_policy=policy,
        result_serializer=RecordSerializer(),
        # A record in memory would be used without a check of its artifacts.
        cache_result_in_memory=False,
        persist_result=True,
        refresh_cache=refresh,
    )
    # Set here, because the constructor accepts only storage that was saved to the server, which this need not be.
    task.result_storage = RecordFiles(basepath=str(records))
    return task


def may_pass(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Whether a stage failed with a transient error. Prefect accepts only plain functions here."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, Exception) and is_transient(error)


def current_attempt() -> int:
    """The number of the current attempt at the task that calls this; the first is 1."""
    context = TaskRunContext.get()
    return 1 if context is None else context.task_run.run_count
