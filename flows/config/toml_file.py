"""TOML files within bounds: what a parser would take gigabytes or minutes for is refused before it sees it.

The parser of the standard library looks at every beginning of a dotted key, which takes the square of its length, and
calls itself for what is nested. Nothing that is read here needs either.
"""

import codecs
import re
import tomllib
from pathlib import Path
from typing import Any

#: Bytes of a file, and levels of tables and lists, one in the other.
MOST_BYTES, MOST_LEVELS = 1_000_000, 12

#: Texts and comments, in which dots are no more than dots. One that does not end is taken to the end of its line or of
#: the file, so that no place is looked at twice.
TEXT = re.compile(
    r'"""(?:\\.|[^\\])*?(?:"{3,5}|\Z)'  # of the quotes that end it, up to two belong to the text
    r"|'''.*?(?:'{3,5}|\Z)"
    r'|"(?:\\[^\n]|[^"\\\n])*+"?'
    r"|'[^'\n]*+'?"
    r"|#[^\n]*+",
    re.DOTALL,
)

#: A dotted key with too many parts.
DOTTED = re.compile(rf"(?<![\w-])[\w-]++(?:[ \t]*+\.[ \t]*+[\w-]++){{{MOST_LEVELS},}}")


class ExcessError(ValueError):
    """A file is larger, or its tables are nested deeper, than any that is meant."""


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file, with or without a byte-order mark, which editors under Windows put before it.

    Raises:
        ExcessError: it is too large, or nested too deeply.
        ValueError: it is no TOML, no UTF-8, or has a number with too many digits.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return parse_toml(file.read(MOST_BYTES + 1))


def parse_toml(content: bytes) -> dict[str, Any]:
    """What the bytes of a TOML file say; see `read_toml`.

    Raises:
        ExcessError: they are too many, or nested too deeply.
        ValueError: they are no TOML, no UTF-8, or have a number with too many digits.
    """
    if len(content) > MOST_BYTES:
        raise ExcessError(f"it has more than {MOST_BYTES:,} bytes")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError("it is in UTF-16: save it as UTF-8")
    text = content.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    if found := DOTTED.search(TEXT.sub("text", text)):
        raise ExcessError(f"it is nested too deeply: {found[0][:20]}… has more than {MOST_LEVELS} parts")
    try:
        table = tomllib.loads(text)
    except RecursionError as error:
        raise ExcessError("it is nested too deeply") from error
    for name, value in table.items():
        if levels(value) > MOST_LEVELS:
            raise ExcessError(f"it is nested too deeply: {name} has more than {MOST_LEVELS} levels")
    return table


def has_mark(path: Path) -> bool:
    """Whether a file begins with a byte-order mark.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8


def levels(value: object) -> int:
    """How many tables and lists lie in each other in a value, at most; none in a text or a number."""
    deepest, layer = 0, [value]
    while layer := [inner for outer in layer if isinstance(outer, dict | list) for inner in contents(outer)]:
        deepest += 1
    return deepest


def contents(outer: dict[str, Any] | list[Any]) -> list[Any]:
    """What lies in a table or a list; something even if that is nothing."""
    return list(outer.values() if isinstance(outer, dict) else outer) or [None]
