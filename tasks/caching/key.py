"""The key of a stage: a hash of everything that shapes its result."""

import dataclasses
import functools
import hashlib
import importlib.metadata
import inspect
import json
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tasks.caching.code.closure import Read
from tasks.caching.code.dynamic import UnseenCodeError
from tasks.caching.code.fingerprint import fingerprint
from tasks.caching.code.sources import source_of
from tasks.caching.external import ExternalFile
from tasks.caching.ingredients import Ingredients, labelled
from tasks.caching.processor import computing, drawing
from tasks.caching.stage import FORMAT, Stage, StageConfig
from tasks.caching.storage.reference import Reference
from tasks.relevance import MattersIf

#: The types whose values JSON can hold. A tuple would look like a list there.
JSON = (bool, dict, float, int, list, str, type(None))

M = TypeVar("M", bound=BaseModel)


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
    """Prepares a stage to run: its config of the settings, without what is not in its key, and its key.

    Raises:
        ValidationError: the settings lack something that the stage's config declares.
    """
    config = stage.config_type.model_validate(settings.model_dump())
    taken = {name: made.digest for name, made in inputs.items()}
    ingredients = own_ingredients(stage, config, external) | labelled("input", taken)
    visible = config if config.writes_settings else without_idle(config)
    return StageCall(stage, visible, dict(inputs), dict(external), ingredients, digest_of(ingredients))


def own_ingredients(stage: Stage[Any], config: StageConfig, external: Mapping[str, ExternalFile]) -> Ingredients:
    """The ingredients of a stage's key without what other stages make: settings, code, environment, external inputs.

    Raises:
        UnseenCodeError: the config has a section of a class that it does not declare, or code is loaded dynamically.
    """
    kind: type[StageConfig] = stage.config_type
    require_declared(config, declared_types(kind))
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
        name: value if has_json(values[name]) else f"{kind_of(values[name])} {in_order(values[name], value)}"
        for name, value in shown.items()
        if not any(f"{name}.".startswith(f"{left_out}.") for left_out in idle)
    }


def in_order(value: Any, shown: Any) -> Any:
    """A value as JSON shows it; a set in an order that is the same in every process."""
    return sorted(shown, key=repr) if isinstance(value, set | frozenset) else shown


def has_json(value: Any) -> bool:
    """Whether JSON can hold a value, and all that is in it, so that its type shows."""
    return type(value) in JSON and all(map(has_json, parts_of(value)))


def kind_of(value: Any) -> str:
    """The name of a value's type, with those of the values in it where JSON cannot hold them."""
    if all(map(has_json, parts_of(value))):
        return type(value).__qualname__
    return f"{type(value).__qualname__}[{', '.join(map(kind_of, parts_of(value)))}]"


def parts_of(value: Any) -> list[Any]:
    """The values in a container of settings; none in any other value."""
    match value:
        case dict():
            return [*value, *value.values()]
        case list() | tuple() | set() | frozenset():
            return list(value)
        case _:
            return []


def matters(section: BaseModel, setting: FieldInfo) -> bool:
    """Whether a setting shapes a result, by the rules in its annotation."""
    return all(note.rule(section) for note in setting.metadata if isinstance(note, MattersIf))


def idle_settings(settings: BaseModel, prefix: str = "", *, defaults_alone: bool = False) -> Iterator[str]:
    """The dotted names of the settings that do not matter, by the rules in their annotations.

    Args:
        settings: a config, or a section of one.
        prefix: of the names.
        defaults_alone: leave out those that are not at their default: for a stage that writes its settings into its
            outputs, and need not run again for a setting that was added later and is at its default.
    """
    for name, info in type(settings).model_fields.items():
        value, does_matter = getattr(settings, name), matters(settings, info)
        if not does_matter and not (defaults_alone and value != info.get_default(call_default_factory=True)):
            yield f"{prefix}{name}"
        elif isinstance(value, BaseModel):
            yield from idle_settings(value, f"{prefix}{name}.", defaults_alone=defaults_alone)


def without_idle(settings: M) -> M:
    """A config, or a section of one, in which each setting that does not matter has its default.

    So a stage cannot depend on it by mistake: its key has nothing of it.
    """
    changes: dict[str, Any] = {}
    for name, info in type(settings).model_fields.items():
        value, does_matter = getattr(settings, name), matters(settings, info)
        if not does_matter and not info.is_required():
            changes[name] = info.get_default(call_default_factory=True)
        elif does_matter and isinstance(value, BaseModel):
            changes[name] = without_idle(value)
    return settings.model_copy(update=changes)


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


@functools.cache
def declared_types(config: type[StageConfig]) -> frozenset[type]:
    """The classes that a config names in its annotations, those of its sections included, and itself."""
    found: set[type] = set()
    waiting: list[Any] = [config]
    while waiting:
        kind = waiting.pop()
        waiting += get_args(kind)
        if isinstance(kind, type) and kind not in found:
            found.add(kind)
            if issubclass(kind, BaseModel):
                waiting += [info.annotation for info in kind.model_fields.values()]
    return frozenset(found)


def settings_classes(config: type[StageConfig]) -> dict[str, frozenset[str]]:
    """The classes whose values a config has: itself, its sections', and their base classes.

    Not those with private attributes, which are in no key: all of their code counts.

    Returns:
        By the full name of a class, the annotated names in it that are in no key: constants and excluded fields.
    """
    models = {kind for kind in declared_types(config) if issubclass(kind, BaseModel)}
    found = {base for kind in models for base in kind.__mro__ if issubclass(base, BaseModel)} - {BaseModel}
    return {
        f"{kind.__module__}.{kind.__qualname__}": frozenset(inspect.get_annotations(kind)) - kept_fields(kind)
        for kind in found
        if not kind.__private_attributes__
    }


def kept_fields(kind: type[BaseModel]) -> set[str]:
    """The fields of a class whose values a key has."""
    return {
        name
        for name, info in kind.model_fields.items()
        if not (info.exclude or getattr(info, "exclude_if", None))  # newer versions of pydantic have both
    }


def require_declared(config: StageConfig, known: Collection[type]) -> None:
    """Checks that all sections of a config are of classes that annotations name: only their code counts.

    Raises:
        UnseenCodeError: one is of another class, such as a subclass that a validator returned.
    """
    waiting: list[tuple[str, Any]] = [(type(config).__name__, config)]
    while waiting:
        name, value = waiting.pop()
        if (isinstance(value, BaseModel) or dataclasses.is_dataclass(value)) and type(value) not in known:
            raise UnseenCodeError(
                f"{name} is a {type(value).__qualname__}, which no annotation names, so that an edit of it would not "
                "be noticed. Name the class in the annotation of the setting"
            )
        match value:
            case BaseModel():
                waiting += [(f"{name}.{field}", getattr(value, field)) for field in type(value).model_fields]
            case dict():
                waiting += [(f"{name}.{entry}", inner) for entry, inner in value.items()]
            case list() | tuple() | set() | frozenset():
                waiting += [(name, inner) for inner in value]


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
