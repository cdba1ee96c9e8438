"""Decides for each stage whether it is reused, and says why. The plan and the run decide by the same code."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from tasks.caching.external import ExternalFile, look_at
from tasks.caching.ingredients import labelled, of_kinds
from tasks.caching.key import StageCall, code_of, code_on_disk, own_ingredients, stage_call
from tasks.caching.reasons import PlannedStatus, Reason, ReasonKind, differences
from tasks.caching.records import (
    DamagedArtifactError,
    Record,
    UnreadableRecordError,
    find_record,
    last_ingredients,
)
from tasks.caching.stage import RUN_FILES, Stage
from tasks.caching.storage.reference import Expected, Pending, Reference
from tasks.caching.storage.store import Store

#: Why a stage runs that is never cached.
NEVER_CACHED = (Reason(ReasonKind.NEVER_CACHED),)

#: What changed if the records are of another format of the cache.
FORMAT_CHANGED = (Reason(ReasonKind.FORMAT_CHANGED),)

#: Why a stage runs that is to run even if cached.
FORCED = (Reason(ReasonKind.FORCED),)


@dataclass(frozen=True)
class Decision:
    """What will become of a stage.

    Attributes:
        stage: its name.
        status: what a plan says of it.
        reasons: why.
        outputs: its artifacts; pending if it has to run.
        seconds: that it took when it last ran with this key; None if it has no record.
    """

    stage: str
    status: PlannedStatus
    reasons: tuple[Reason, ...]
    outputs: Expected = field(default_factory=dict)
    seconds: float | None = None


class Walk:
    """A walk along a flow's wiring: what each stage takes of what those before it made."""

    def __init__(self) -> None:
        self._keepers: dict[str, str] = {}
        self._files: dict[str, str] = {}

    def take(self, stage: Stage[Any], upstream: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """The artifacts that a stage takes, by name; what it takes for the run folder, by the name of its file there.

        Args:
            stage: the next one of the walk.
            upstream: outputs of stages before it, as the wiring hands them on.

        Raises:
            LookupError: one that may not be absent is, or two stages keep the same file in the run folder.
        """
        available = {name: output for outputs in upstream for name, output in outputs.items()}
        chosen: dict[str, Any] = {}
        for name in stage.inputs:
            bare = name.removesuffix("?")
            if name == RUN_FILES:
                chosen |= {file: available[made] for made, file in self._files.items() if made in available}
            elif bare in available:
                chosen[bare] = available[bare]
            elif bare == name:
                raise LookupError(f"stage {stage.name} takes {name!r}, which no stage before it makes")
        self._keep(stage)
        return chosen

    def _keep(self, stage: Stage[Any]) -> None:
        for made, file in stage.run_files.items():
            if keeper := self._keepers.get(file):
                raise LookupError(f"stage {stage.name} keeps {file} in the run folder, as {keeper} does")
            self._keepers[file] = stage.name
            self._files[made] = file


@dataclass
class Planner:
    """Walks a flow's wiring without running anything, and collects a decision for each stage.

    Attributes:
        experiment: name under which the last ingredients are kept.
        settings: what the stages take their configs from.
        store: where records and artifacts lie.
        refresh: names of the stages that are to run even if cached; "all" stands for every one.
        until: the last stage to run; None for all.
    """

    experiment: str
    settings: BaseModel
    store: Store
    refresh: frozenset[str] = frozenset()
    until: str | None = None
    decisions: list[Decision] = field(default_factory=list)
    _walk: Walk = field(default_factory=Walk)

    def __call__(self, stage: Stage[Any], /, *upstream: Mapping[str, Any]) -> Expected:
        """Decides about one stage, and returns its artifacts, known or pending."""
        if not stage.takes_part_with(self.settings):
            return {}
        decision = self._decide(stage, self._walk.take(stage, upstream))
        self.decisions.append(decision)
        return decision.outputs

    def _decide(self, stage: Stage[Any], inputs: Expected) -> Decision:
        pending = stage.pending()
        if self.until in {decision.stage for decision in self.decisions}:
            return Decision(stage.name, "not reached", (Reason(ReasonKind.NOT_REACHED, self.until or ""),), pending)
        external = look_outside(stage, self.settings, self.experiment, self.store)
        if not stage.cached:
            return Decision(stage.name, "will run", NEVER_CACHED, pending)
        awaited = dict.fromkeys(value.stage for value in inputs.values() if isinstance(value, Pending))
        if is_forced(stage, self.refresh):
            return Decision(stage.name, "will run", FORCED, pending)
        if awaited:
            return Decision(stage.name, "depends", self._while_waiting(stage, tuple(awaited), external), pending)
        known = {name: value for name, value in inputs.items() if isinstance(value, Reference)}
        call = stage_call(stage, self.settings, known, external)
        record, reasons = examine(call, self.experiment, self.store)
        if record is None:
            return Decision(stage.name, "will run", reasons, pending)
        return Decision(stage.name, "reused", reasons, dict(record.outputs), record.seconds)

    def _while_waiting(
        self, stage: Stage[Any], awaited: tuple[str, ...], external: Mapping[str, ExternalFile]
    ) -> tuple[Reason, ...]:
        """The reasons of a stage whose inputs are not known yet: which it waits for, and what changed besides."""
        reasons = (Reason(ReasonKind.DEPENDS, ", ".join(awaited)),)
        before = last_ingredients(self.experiment, stage.name, self.store)
        if before is None:
            return reasons
        config = stage.config_type.model_validate(self.settings.model_dump())
        kept = labelled("input", dict.fromkeys(stage.external)).keys() & before.keys()
        own = of_kinds(before, ("setting", "library", "code")) | {text: before[text] for text in kept}
        changes = differences(own, own_ingredients(stage, config, external))
        # Of a new format, the stage that is waited for says it already, or one before that.
        return reasons if changes == FORMAT_CHANGED else reasons + changes


def look_outside(stage: Stage[Any], settings: BaseModel, experiment: str, store: Store) -> Mapping[str, ExternalFile]:
    """The external inputs of a stage as they are now, by name; the plan and the run both look here.

    Raises:
        ExternalInputError: one is not there, is no file, or changed while it was read.
    """
    if not stage.external:
        return {}
    paths = stage.external_paths(stage.config_type.model_validate(settings.model_dump()))
    return look_at(stage.name, experiment, paths, store)


def is_forced(stage: Stage[Any], refresh: frozenset[str]) -> bool:
    """Whether a stage is to run even if cached."""
    return not refresh.isdisjoint({stage.name, "all"})


def examine(call: StageCall, experiment: str, store: Store) -> tuple[Record | None, tuple[Reason, ...]]:
    """The record that may be reused for a call, if any, and the reasons for reusing it or not."""
    before = last_ingredients(experiment, call.stage.name, store)
    try:
        record = find_record(call, store)
    except (UnreadableRecordError, DamagedArtifactError) as problem:
        return None, (Reason(ReasonKind.DAMAGED, str(problem)),)
    if record is not None:
        kind = ReasonKind.UNCHANGED if before == call.ingredients else ReasonKind.COMPUTED_BEFORE
        return record, (Reason(kind),)
    if before is None:
        return None, (Reason(ReasonKind.FIRST_RUN, experiment),)
    return None, differences(before, call.ingredients) or (Reason(ReasonKind.RECORD_MISSING),)


def edited_meanwhile(stage: Stage[Any]) -> str:
    """What was edited of a stage's code since this process read it, in a sentence; empty if nothing was.

    The result is stored under the key of the code that ran, so it is correct whatever was edited.
    """
    try:
        changes = differences(code_of(stage), code_on_disk(stage))
    except (OSError, SyntaxError, ValueError) as error:
        what = f"its code cannot be read any more ({error}), which happened"
    else:
        what = str(changes[0]) if changes else ""
    if not what:
        return ""
    return f"{what} while this process ran: the result is kept as that of the code that ran, not of the new one"
