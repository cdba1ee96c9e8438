"""Why a stage runs, or does not have to, in words."""

import json
from collections.abc import Mapping
from typing import Any

from tasks.caching.code.names import ORDER
from tasks.caching.key import Ingredients

#: How many reasons are told before the rest is only counted.
MOST_REASONS = 6


def differences(before: Ingredients, now: Ingredients) -> tuple[str, ...]:
    """What changed between two sets of ingredients, each change in a few words; settings come first.

    For example `training.learning_rate 0.03 → 0.01`, `torch 2.12.0 → 2.13.0`,
    `tasks/learning/training/loop.py: fit changed`, `input weights changed`.
    """
    if before.get("cache") != now.get("cache"):
        return ("the cache's format changed",)  # its records have other ingredients, which say nothing
    changed = {name for name in before.keys() | now.keys() if _differs(name, before, now)}
    if "library python" in changed:
        changed = {name for name in changed if not name.startswith("code ")}  # each Python has its own syntax trees
    places = {name: place for place, name in enumerate(dict.fromkeys((*now, *before)))}
    told = [_change(name, before, now) for name in sorted(changed, key=lambda name: _rank(name, places))]
    if len(told) > MOST_REASONS:
        told[MOST_REASONS - 1 :] = [f"and {len(told) - MOST_REASONS + 1} more changes"]
    return tuple(told)


_ABSENT = object()


def _differs(name: str, before: Ingredients, now: Ingredients) -> bool:
    """Whether an ingredient changed: as a key has it, so that 0.0 and -0.0 do, and 1 and 1.0."""
    return name not in before or name not in now or json.dumps(before[name]) != json.dumps(now[name])


def _rank(name: str, places: Mapping[str, int]) -> tuple[int, int, str]:
    """Settings, then libraries, then code, each by name; then inputs as the stage declares them, the root first.

    Of code, what changed itself comes before the order of statements, which follows from it elsewhere.
    """
    kinds = ("library ", "code ", "input ")
    rank = next((rank for rank, kind in enumerate(kinds, 1) if name.startswith(kind)), 0)
    place = places[name] if name.startswith("input ") else name.endswith(f": {ORDER}")
    return rank, place, name


def _change(name: str, before: Ingredients, now: Ingredients) -> str:
    kind, _, subject = name.partition(" ")
    if kind == "input" or kind == "code":
        verb = "added" if name not in before else "removed" if name not in now else "changed"
        return f"{'input ' if kind == 'input' else ''}{subject} {verb}"
    label = subject if kind == "library" else name
    return f"{label} {_value(before.get(name, _ABSENT))} → {_value(now.get(name, _ABSENT))}"


def _value(value: Any) -> str:
    return "absent" if value is _ABSENT else "none" if value is None else str(value)
