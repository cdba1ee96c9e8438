"""Descriptions of settings for people: what a field means, what it allows, and its default, in one text.

The form in the Prefect UI shows a field's description and neither its bounds nor its default.
"""

from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

#: How a bound is said, by the name that pydantic gives it.
BOUNDS = {"ge": "at least {}", "gt": "above {}", "le": "at most {}", "lt": "below {}"}


def full_description(info: FieldInfo) -> str:
    """A field's description, its bounds and its default, such as "Passes over the rows. At least 1; default 100."."""
    allowed = "; ".join(filter(None, (", ".join(bounds(info)), default(info))))
    return " ".join(filter(None, (info.description, allowed and f"{allowed[0].upper()}{allowed[1:]}.")))


def bounds(info: FieldInfo) -> list[str]:
    """What bounds a number, each in a few words."""
    return [
        text.format(in_words(value))
        for constraint in info.metadata
        for name, text in BOUNDS.items()
        if (value := getattr(constraint, name, None)) is not None
    ]


def default(info: FieldInfo) -> str:
    """The default in words; empty where there is none, or where leaving the field out has a meaning of its own."""
    value = info.default
    return "" if value is None or value is PydanticUndefined else f"default {in_words(value)}"


def in_words(value: Any) -> str:
    """A value as people write it in a file."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)
