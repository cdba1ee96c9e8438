"""Why a stage runs, or does not have to: a type, which is turned into text only where it is shown or stored."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Literal

from tasks.caching.code.names import ORDER
from tasks.caching.ingredients import KINDS, Ingredient, Ingredients

#: What a plan says of a stage: `depends` if that cannot be known before a stage ahead of it has run; `not reached` if
#: the run ends before it.
PlannedStatus = Literal["reused", "will run", "depends", "not reached"]

#: What became of a stage in a run; `running` until it has ended.
RunStatus = Literal["reused", "run", "running"]

#: How many reasons are listed before the rest is only counted.
MOST_REASONS = 6


class Absent(Enum):
    """Stands in for the value of an ingredient that a key does not have; None is a value."""

    ABSENT = auto()


ABSENT = Absent.ABSENT


class ReasonKind(Enum):
    """The kinds of reasons; `TEXTS` has the text of each."""

    UNCHANGED = auto()
    COMPUTED_BEFORE = auto()
    COMPUTED_MEANWHILE = auto()
    FIRST_RUN = auto()
    FORCED = auto()
    NEVER_CACHED = auto()
    DEPENDS = auto()
    NOT_REACHED = auto()
    RECORD_MISSING = auto()
    DAMAGED = auto()
    FORMAT_CHANGED = auto()
    SETTING = auto()
    LIBRARY = auto()
    CODE = auto()
    INPUT = auto()
    MORE = auto()


TEXTS = {
    ReasonKind.UNCHANGED: "unchanged",
    ReasonKind.COMPUTED_BEFORE: "computed before",
    ReasonKind.COMPUTED_MEANWHILE: "computed meanwhile by another run",
    ReasonKind.FIRST_RUN: "first run of {subject}",
    ReasonKind.FORCED: "forced",
    ReasonKind.NEVER_CACHED: "never cached",
    ReasonKind.DEPENDS: "depends on the outcome of {subject}",
    ReasonKind.NOT_REACHED: "after {subject}",
    ReasonKind.RECORD_MISSING: "record missing",
    ReasonKind.DAMAGED: "{subject}",
    ReasonKind.FORMAT_CHANGED: "the cache's format changed",
    ReasonKind.SETTING: "{subject} {before} → {after}",
    ReasonKind.LIBRARY: "{subject} {before} → {after}",
    ReasonKind.CODE: "{subject} {verb}",
    ReasonKind.INPUT: "input {subject} {verb}",
    ReasonKind.MORE: "and {subject} more changes",
}


@dataclass(frozen=True)
class Reason:
    """Why a stage runs, or does not have to.

    Attributes:
        kind: of reason.
        subject: what it is about: a setting, a library, a place in the code, an input, a stage, an experiment, or what
            is wrong with a record.
        before: the value that a changed ingredient had; ABSENT if there was none.
        after: the value that it has now; likewise.
    """

    kind: ReasonKind
    subject: str = ""
    before: Any = ABSENT
    after: Any = ABSENT

    def __str__(self) -> str:
        """The reason in a few words, as people see it and `run.json` keeps it."""
        verb = "added" if self.before is ABSENT else "removed" if self.after is ABSENT else "changed"
        before, after = _shown(self.before), _shown(self.after)
        return TEXTS[self.kind].format(subject=self.subject, before=before, after=after, verb=verb)


def _shown(value: Any) -> str:
    return "absent" if value is ABSENT else "none" if value is None else str(value)


def differences(before: Ingredients, now: Ingredients) -> tuple[Reason, ...]:
    """What changed between two sets of ingredients; settings come first.

    For example `training.learning_rate 0.03 → 0.01`, `torch 2.12.0 → 2.13.0`,
    `tasks/learning/training/loop.py: fit changed`, `input weights changed`.
    """
    if before.get("cache") != now.get("cache"):
        return (Reason(ReasonKind.FORMAT_CHANGED),)  # its records have other ingredients, which say nothing
    changed = [Ingredient.parse(text) for text in before.keys() | now.keys() if _differs(text, before, now)]
    if Ingredient("library", "python") in changed:
        changed = [found for found in changed if found.kind != "code"]  # each Python has its own syntax trees
    places = {text: place for place, text in enumerate(dict.fromkeys((*now, *before)))}
    reasons = [_change(found, before, now) for found in sorted(changed, key=lambda found: _rank(found, places))]
    if len(reasons) > MOST_REASONS:
        reasons[MOST_REASONS - 1 :] = [Reason(ReasonKind.MORE, str(len(reasons) - MOST_REASONS + 1))]
    return tuple(reasons)


def _differs(text: str, before: Ingredients, now: Ingredients) -> bool:
    """Whether an ingredient changed: as a key has it, so that 0.0 and -0.0 do, and 1 and 1.0."""
    return text not in before or text not in now or json.dumps(before[text]) != json.dumps(now[text])


def _rank(found: Ingredient, places: Mapping[str, int]) -> tuple[int, int, str]:
    """Settings, then libraries, then code, each by name; then inputs as the stage declares them, the root first.

    Of code, what changed itself comes before the order of statements, which follows from it elsewhere.
    """
    place = places[str(found)] if found.kind == "input" else found.name.endswith(f": {ORDER}")
    return KINDS.index(found.kind), place, found.name


def _change(found: Ingredient, before: Ingredients, now: Ingredients) -> Reason:
    old, new = (values.get(str(found), ABSENT) for values in (before, now))
    return Reason(ReasonKind[found.kind.upper()], found.name, old, new)
