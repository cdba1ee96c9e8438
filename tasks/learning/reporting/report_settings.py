"""The settings of an experiment for people: in the tables of the report, and as a TOML file that trains it again."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

#: What stands where there is no value.
ABSENT = "–"


def sections_of(experiment: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The sections of an experiment; its names are shown elsewhere."""
    return ((name, part) for name, part in experiment.items() if isinstance(part, Mapping))


def settings_shown(prefix: str, section: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The settings of a section with dotted names, and their values as they were given, at full precision."""
    for name, value in section.items():
        if isinstance(value, Mapping):
            yield from settings_shown(f"{prefix}.{name}", value)
        else:
            yield f"{prefix}.{name}", shown(value)


def shown(value: Any) -> str:
    """The value of a setting for people."""
    if value is None:
        return ABSENT
    return value if isinstance(value, str) else toml_value(value)


def as_toml(experiment: Mapping[str, Any]) -> str:
    """An experiment as a TOML file; settings that are not given are left out."""
    names = {name: value for name, value in experiment.items() if not isinstance(value, Mapping)}
    blocks = [toml_lines(names), *(f"[{name}]\n{toml_lines(part)}" for name, part in sections_of(experiment))]
    return "\n\n".join(blocks)


def toml_lines(settings: Mapping[str, Any]) -> str:
    """Settings as lines of a TOML file; those that are not given are left out."""
    return "\n".join(f"{name} = {toml_value(value)}" for name, value in settings.items() if value is not None)


def toml_value(value: Any) -> str:
    """A value in TOML, which writes texts, whole numbers and truth values as JSON does (but for DEL)."""
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
