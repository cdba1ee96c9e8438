"""The key of a stage: a hash of everything that shapes its result."""

import functools
import hashlib
import importlib.metadata
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tasks.caching.fingerprint import fingerprint
from tasks.caching.reference import Reference
from tasks.caching.stage import Stage, View

#: What a key is made of, flat: each ingredient's name, as it is told to people, and its value.
Ingredients = dict[str, Any]


@dataclass(frozen=True)
class Order:
    """A stage with all that it needs to run.

    Attributes:
        stage: what to run.
        view: the part of the experiment that it sees.
        inputs: the artifacts that it takes, by name.
        ingredients: what its key is made of.
        key: SHA-256 of the ingredients, 64 hexadecimal digits.
    """

    stage: Stage[Any]
    view: View
    inputs: dict[str, Reference]
    ingredients: Ingredients
    key: str


def order_stage(stage: Stage[Any], settings: BaseModel, inputs: Mapping[str, Reference]) -> Order:
    """Prepares a stage to run: its view of the settings and its key.

    Raises:
        ValidationError: the settings lack something that the stage's view declares.
    """
    view = stage.view.model_validate(settings.model_dump())
    ingredients = own_ingredients(stage, view) | {f"input {name}": inputs[name].digest for name in sorted(inputs)}
    return Order(stage, view, dict(inputs), ingredients, digest_of(ingredients))


def own_ingredients(stage: Stage[Any], view: View) -> Ingredients:
    """The ingredients of a stage's key without its inputs: settings, code and environment."""
    settings = flatten(view.model_dump(mode="json"))
    return {
        "stage": stage.name,
        "schema": stage.schema,
        **{name: value for name, value in settings.items() if name not in view.immaterial},
        **{f"library {name}": version(name) for name in ("python", *stage.libraries)},
        **code_of(stage.function.__module__),
    }


@functools.cache
def code_of(module: str) -> Ingredients:
    """The ingredients that stand for a module's code, as this process runs it; see `tasks.caching.sources`."""
    return {f"code {place}": digest for place, digest in fingerprint(module).items()}


def pin_code(modules: Iterable[str]) -> None:
    """Reads all code that stages can run, so that none of it is edited between the first stage and the last.

    Args:
        modules: of the stages.
    """
    for module in modules:
        code_of(module)


def code_on_disk(module: str) -> Ingredients:
    """The ingredients that stand for a module's code, as it is in the files now.

    Raises:
        OSError: a file is gone or cannot be read.
        SyntaxError: a file is no Python: somebody is about to edit it.
        ValueError: the same, or the module is gone.
    """
    return {f"code {place}": digest for place, digest in fingerprint(module, read=Path.read_bytes).items()}


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
    """The installed version of a distribution, found without importing it; of Python, major and minor.

    "absent" if it is not installed, so that a key can be made in any environment.
    """
    if library == "python":
        return f"{sys.version_info.major}.{sys.version_info.minor}"
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
