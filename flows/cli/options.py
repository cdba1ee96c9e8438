"""Every field of the experiment as an option of the command line, with its help."""

from collections.abc import Iterable
from copy import copy
from typing import Any

from pydantic import BaseModel, BeforeValidator, create_model, field_validator
from pydantic.fields import FieldInfo

from flows.config.toml_file import MOST_LEVELS
from flows.errors import InputError
from tasks.learning.config.descriptions import full_description
from tasks.learning.config.experiment import Experiment
from tasks.learning.config.section import unrounded


def options_of(section: type[BaseModel]) -> type[BaseModel]:
    """A model with the fields of `section`, all optional, which takes texts as the command line gives them.

    It checks each field by itself; how fields fit each other is checked when the options have joined the preset.
    """
    fields: dict[str, Any] = {name: option_of(info) for name, info in section.model_fields.items()}
    # What a text is made into is no integer any more where a real number is asked for, so this is checked here as well.
    checks: dict[str, Any] = {"unrounded": field_validator("*", mode="wrap")(unrounded)}
    return create_model(f"{section.__name__}Options", __validators__=checks, **fields)


def option_of(info: FieldInfo) -> tuple[Any, FieldInfo]:
    """The type and the description of one field as an option; "none" clears a field that may be empty."""
    kind: Any = info.annotation
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return options_of(kind) | None, FieldInfo(default=None, description=info.description)
    option = copy(info)
    option.description, option.default = full_description(info), None
    if kind == kind | None:
        # After the field's bounds, which hold for what is not None.
        option.metadata = [*option.metadata, BeforeValidator(lambda text: None if text == "none" else text)]
    return kind | None, option


ExperimentOptions = options_of(Experiment)


def require_shallow(words: Iterable[str]) -> None:
    """Shows that no value on the command line is nested too deeply to be read as JSON.

    Raises:
        InputError: one is.
    """
    for word in words:
        if word.count("{") + word.count("[") > MOST_LEVELS:
            raise InputError(f"{word[:40]}… is nested too deeply, or is no value of an option")
