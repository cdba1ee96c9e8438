"""Values and counts in words, the same in the terminal and on the pages of the UI."""

from collections.abc import Mapping, Sequence
from typing import Any

#: What the store calls other than people do.
_IN_WORDS = {"states": "stage checkpoints"}


def counted_kind(number: int, kind: str) -> str:
    """A number of things of the store, by the name of their kind there."""
    return counted(number, _IN_WORDS.get(kind, kind))


def counted(number: int, things: str) -> str:
    """A number of things, whose plural ends in s: 1 run, 2 runs, 1,000 runs."""
    return f"{number:,} {things.removesuffix('s') if number == 1 else things}"


def figure(value: Any, digits: int = 6) -> str:
    """A value as people read it: numbers with so many significant digits, whole ones with thousands separated."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:,}" if isinstance(value, int) else f"{value:.{digits}g}"


def setting(name: str, value: Any) -> str:
    """The value of a setting as people read it; a seed as it is written in a file, since it counts nothing."""
    if isinstance(value, list):
        return ", ".join(setting(name, single) for single in value) or "–"
    return str(value) if name.rpartition(".")[2] == "seed" else figure(value)


def shown_figures(figures: Mapping[str, float]) -> str:
    """The newest figures of a stage in a line, such as `training loss 0.0148`."""
    return ", ".join(f"{name} {figure(value)}" for name, value in figures.items())


def in_one_line(text: str) -> str:
    r"""A text that contains file names, on one line, whatever characters those are made of.

    Characters that cannot be printed appear as Python escapes: an ideographic space as `\u3000`, a newline as `\n`.
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )


def printable(text: str) -> str:
    """A text without what steers a terminal: it may come out of a file of another origin."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}" for letter in text)


def acceptance(rejections: Sequence[str]) -> str:
    """Whether a run is accepted, and why not."""
    return f"no: {'; '.join(rejections)}" if rejections else "yes"
