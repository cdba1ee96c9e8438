"""A strict JSON parser: refuses what two parsers could read differently, and what is not quite JSON."""

import json
import math
from collections.abc import Iterable
from typing import Any

#: The deepest nesting of objects and lists; what this project writes has six levels.
DEEPEST = 64


def parse_json(content: bytes | str) -> Any:
    """Parses a JSON text in UTF-8.

    Raises:
        ValueError: it is not JSON, is nested too deeply, has a key twice in one object, or has a number or a string
            that JSON does not allow (NaN, 1e999, half of a surrogate pair).
    """
    text = content if isinstance(content, str) else content.decode()
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_float=_finite, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    _require_shallow(value)
    if "\\ud" in text.lower():
        json.dumps(value, ensure_ascii=False).encode()
    return value


def parse_object(content: bytes | str) -> dict[str, Any]:
    """Parses a JSON text that has to be an object.

    Raises:
        ValueError: as for `parse_json`, or it is not an object.
    """
    value = parse_json(content)
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")
    return value


def _require_shallow(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [inner for outer in level if isinstance(outer, dict | list) for inner in _inside(outer)]
        if not level:
            return
    raise ValueError("it is nested too deeply")


def _inside(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} occurs twice in one object")
    return value


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is larger than any number")
    return number


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not a number")
