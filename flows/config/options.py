"""Every field of the experiment as an option of the command line, with its help."""

from collections.abc import Iterable
from copy import copy
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, create_model, field_validator
from pydantic.fields import FieldInfo

from flows.config.toml_file import MOST_LEVELS
from flows.errors import InputError
from tasks.learning.config.descriptions import full_description
from tasks.learning.config.experiment import Experiment
from tasks.learning.config.section import Choice, Section, sections_of, unrounded


def options_of(*kinds: type[Section]) -> type[BaseModel]:
    """A model with the fields of a section, all optional, which takes texts as the command line gives them.

    It checks each field by itself; how fields fit each other is checked when the options have joined the preset.

    Args:
        kinds: the section's class, or one for each kind of it; then the options are those of all kinds.
    """
    given: dict[str, list[FieldInfo]] = {}
    for name, info in (field for kind in kinds for field in kind.model_fields.items()):
        given.setdefault(name, []).append(info)
    fields: dict[str, Any] = {name: joined([option_of(info) for info in infos]) for name, infos in given.items()}
    # What a text is made into is no integer any more where a real number is asked for, so this is checked here as well.
    checks: dict[str, Any] = {"unrounded": field_validator("*", mode="wrap")(unrounded)}
    return create_model(f"{kinds[0].__name__}Options", __validators__=checks, **fields)


def option_of(info: FieldInfo) -> tuple[Any, FieldInfo]:
    """The type and the description of one field as an option; "none" clears a field that may be empty."""
    kind: Any = info.annotation
    if sections := sections_of(kind):
        return options_of(*sections) | None, FieldInfo(default=None, description=info.description)
    option = copy(info)
    for choice in (note for note in info.metadata if isinstance(note, Choice)):
        kind = Literal[choice.names]  # which the help lists
        option.metadata = [note for note in option.metadata if note is not choice]
    option.description, option.default = full_description(info), None
    if kind == kind | None:
        # After the field's bounds, which hold for what is not None.
        option.metadata = [*option.metadata, BeforeValidator(lambda text: None if text == "none" else text)]
    return kind | None, option


def joined(options: list[tuple[Any, FieldInfo]]) -> tuple[Any, FieldInfo]:
    """One option for a field that several kinds of a section have: what any of them takes, described by the first."""
    (kind, option), *others = options
    for other, info in others:
        if (other, info.metadata) != (kind, option.metadata):
            kind = held(kind, option) | held(other, info)
            option = FieldInfo(default=None, description=option.description)
    return kind, option


def held(kind: Any, option: FieldInfo) -> Any:
    """The type of an option with what it is held to."""
    return Annotated[kind, *option.metadata] if option.metadata else kind


ExperimentOptions = options_of(Experiment)


def require_shallow(words: Iterable[str]) -> None:
    """Shows that no value on the command line is nested too deeply to be read as JSON.

    Raises:
        InputError: one is.
    """
    for word in words:
        if word.count("{") + word.count("[") > MOST_LEVELS:
            raise InputError(f"{word[:40]}… is nested too deeply, or is no value of an option")
