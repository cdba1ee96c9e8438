"""The key of a stage: a hash of everything that shapes its result."""

import functools
import hashlib
import importlib.metadata
import json
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

from pydantic import BaseModel

from tasks.caching.code.closure import Read
from tasks.caching.code.fingerprint import fingerprint
from tasks.caching.code.sources import source_of
from tasks.caching.external import ExternalFile
from tasks.caching.ingredients import Ingredients, labelled
from tasks.caching.processor import computing, drawing
from tasks.caching.stage import FORMAT, Stage, StageConfig
from tasks.caching.storage.reference import Reference
from tasks.relevance import MattersIf

#: The types whose values JSON can hold; a tuple becomes a list.
JSON = (bool, dict, float, int, list, str, tuple, type(None))


@dataclass(frozen=True)
class StageCall:
    """A stage with all that it needs to run.

    Attributes:
        stage: what to run.
        config: the part of the experiment that it sees.
        inputs: the artifacts that it takes, by name.
        external: the files outside the store that it reads, by name.
        ingredients: what its key is made of.
        key: SHA-256 of the ingredients, 64 hexadecimal digits.
    """

    stage: Stage[Any]
    config: StageConfig
    inputs: dict[str, Reference]
    external: dict[str, ExternalFile]
    ingredients: Ingredients
    key: str


def stage_call(
    stage: Stage[Any],
    settings: BaseModel,
    inputs: Mapping[str, Reference],
    external: Mapping[str, ExternalFile] = MappingProxyType({}),
) -> StageCall:
    """Prepares a stage to run: its config of the settings and its key.

    Raises:
        ValidationError: the settings lack something that the stage's config declares.
    """
    config = stage.config_type.model_validate(settings.model_dump())
    taken = {name: made.digest for name, made in inputs.items()}
    ingredients = own_ingredients(stage, config, external) | labelled("input", taken)
    return StageCall(stage, config, dict(inputs), dict(external), ingredients, digest_of(ingredients))


def own_ingredients(stage: Stage[Any], config: StageConfig, external: Mapping[str, ExternalFile]) -> Ingredients:
    """The ingredients of a stage's key without what other stages make: settings, code, environment, external inputs."""
    return {
        "cache": FORMAT,
        "stage": stage.name,
        "schema": stage.schema,
        **material_settings(config),
        **labelled("library", {name: version(name) for name in ("python", *stage.libraries)}),
        **labelled("library", surroundings(stage.libraries)),
        **code_of(stage),
        **labelled("input", {name: file.digest for name, file in external.items()}),
    }


def surroundings(libraries: Collection[str]) -> dict[str, str]:
    """What shapes the results of libraries beside their versions, by name."""
    return (computing() if "torch" in libraries else {}) | (drawing() if "matplotlib" in libraries else {})


def material_settings(config: StageConfig) -> dict[str, Any]:
    """The settings that shape a stage's result, flat: without those that are immaterial or do not matter.

    The fingerprint of a stage's code leaves out the types of settings. So a value of a type that JSON lacks, such as a
    date, is written with the name of its type.
    """
    values, shown = flatten(config.model_dump()), flatten(config.model_dump(mode="json"))
    idle = config.immaterial | set(idle_settings(config, defaults_alone=config.writes_settings))
    return {
        name: value if type(values[name]) in JSON else f"{type(values[name]).__qualname__} {value}"
        for name, value in shown.items()
        if not any(f"{name}.".startswith(f"{left_out}.") for left_out in idle)
    }


def idle_settings(settings: BaseModel, prefix: str = "", *, defaults_alone: bool = False) -> Iterator[str]:
    """The dotted names of the settings that do not matter, by the rules in their annotations.

    Args:
        settings: a config, or a section of one.
        prefix: of the names.
        defaults_alone: leave out those that are not at their default: for a stage that writes its settings into its
            outputs, and need not run again for a setting that was added later and is at its default.
    """
    for name, info in type(settings).model_fields.items():
        value = getattr(settings, name)
        matters = all(note.rule(settings) for note in info.metadata if isinstance(note, MattersIf))
        if not matters and not (defaults_alone and value != info.get_default(call_default_factory=True)):
            yield f"{prefix}{name}"
        elif isinstance(value, BaseModel):
            yield from idle_settings(value, f"{prefix}{name}.", defaults_alone=defaults_alone)


@functools.cache
def code_of(stage: Stage[Any]) -> Ingredients:
    """The ingredients that stand for a stage's code, as this process runs it; see `tasks.caching.code.sources`."""
    return read_code(stage, source_of)


def pin_code(stages: Iterable[Stage[Any]]) -> None:
    """Reads all code that stages can run, so that an edit during the run reaches none of them."""
    for stage in stages:
        code_of(stage)


def code_on_disk(stage: Stage[Any]) -> Ingredients:
    """The ingredients that stand for a stage's code, as it is in the files now.

    Raises:
        OSError: a file is missing or cannot be read.
        SyntaxError: a file is not valid Python, for example because it is being edited.
        ValueError: the same, or the module is missing.
    """
    return read_code(stage, Path.read_bytes)


def read_code(stage: Stage[Any], read: Read) -> Ingredients:
    """The ingredients that stand for a stage's code, with the files as `read` returns them."""
    function = stage.function
    settings = settings_classes(stage.config_type)
    places = fingerprint(function.__module__, function.__qualname__, settings=settings, loads=stage.loads, read=read)
    return labelled("code", places)


def settings_classes(config: type[StageConfig]) -> frozenset[str]:
    """The full names of the classes whose values a config has: itself, its sections', and their base classes."""
    found: set[type[BaseModel]] = set()
    waiting: list[Any] = [config]
    while waiting:
        kind = waiting.pop()
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            waiting += get_args(kind)
        elif kind not in found:
            found |= {base for base in kind.__mro__ if issubclass(base, BaseModel)}
            waiting += [info.annotation for info in kind.model_fields.values()]
    return frozenset(f"{kind.__module__}.{kind.__qualname__}" for kind in found)


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        is_nested = isinstance(value, dict) and value  # an empty one is a value like any other
        flat |= flatten(value, f"{prefix}{name}.") if is_nested else {f"{prefix}{name}": value}
    return flat


def digest_of(ingredients: Ingredients) -> str:
    """SHA-256 of the ingredients in canonical JSON."""
    canonical = json.dumps(ingredients, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


@functools.cache
def version(library: str) -> str:
    """The installed version of a distribution, found without importing it; of Python, major and minor, and how it runs.

    "absent" if it is not installed, so that a key can be computed in any environment.
    """
    if library == "python":
        return f"{sys.version_info.major}.{sys.version_info.minor}{' without asserts' if sys.flags.optimize else ''}"
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
