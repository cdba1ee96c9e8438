"""Decides for each stage whether it is reused, and says why. The plan and the run decide by the same code."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from tasks.caching.ingredients import of_kinds
from tasks.caching.key import StageCall, code_of, code_on_disk, own_ingredients, stage_call
from tasks.caching.reasons import PlannedStatus, Reason, ReasonKind, differences
from tasks.caching.records import (
    DamagedArtifactError,
    Record,
    UnreadableRecordError,
    find_record,
    last_ingredients,
)
from tasks.caching.stage import Stage
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


def choose(names: tuple[str, ...], available: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """The artifacts that a stage takes, out of all that the stages before it made.

    Raises:
        LookupError: one that may not be absent is.
    """
    chosen = {}
    for name in names:
        bare = name.removesuffix("?")
        if bare in available:
            chosen[bare] = available[bare]
        elif bare == name:
            raise LookupError(f"stage {stage} takes {name!r}, which no stage before it makes")
    return chosen


@dataclass
class Planner:
    """Walks a flow's wiring without running anything, and collects what would become of each stage.

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

    def __call__(self, stage: Stage[Any], /, *upstream: Mapping[str, Any]) -> Expected:
        """Decides about one stage; returns its artifacts, known or pending."""
        available = {name: output for outputs in upstream for name, output in outputs.items()}
        decision = self._decide(stage, choose(stage.inputs, available, stage.name))
        self.decisions.append(decision)
        return decision.outputs

    def _decide(self, stage: Stage[Any], inputs: Expected) -> Decision:
        pending = {name.removesuffix("?"): Pending(stage.name) for name in stage.outputs}
        if self.until in {decision.stage for decision in self.decisions}:
            return Decision(stage.name, "not reached", (Reason(ReasonKind.NOT_REACHED, self.until or ""),), pending)
        if not stage.cached:
            return Decision(stage.name, "will run", NEVER_CACHED, pending)
        awaited = dict.fromkeys(value.stage for value in inputs.values() if isinstance(value, Pending))
        if is_forced(stage, self.refresh):
            return Decision(stage.name, "will run", FORCED, pending)
        if awaited:
            return Decision(stage.name, "depends", self._while_waiting(stage, tuple(awaited)), pending)
        known = {name: value for name, value in inputs.items() if isinstance(value, Reference)}
        call = stage_call(stage, self.settings, known)
        record, reasons = examine(call, self.experiment, self.store)
        if record is None:
            return Decision(stage.name, "will run", reasons, pending)
        return Decision(stage.name, "reused", reasons, dict(record.outputs), record.seconds)

    def _while_waiting(self, stage: Stage[Any], awaited: tuple[str, ...]) -> tuple[Reason, ...]:
        """The reasons of a stage whose inputs are not known yet: which it waits for, and what changed besides."""
        reasons = (Reason(ReasonKind.DEPENDS, ", ".join(awaited)),)
        before = last_ingredients(self.experiment, stage.name, self.store)
        if before is None:
            return reasons
        config = stage.config_type.model_validate(self.settings.model_dump())
        own = of_kinds(before, ("setting", "library", "code"))
        changes = differences(own, own_ingredients(stage, config))
        # Of a new format, the stage that is waited for says it already, or one before that.
        return reasons if changes == FORMAT_CHANGED else reasons + changes


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

    What the stage made is kept under the key of the code that made it, so that it costs nothing and is true.
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
