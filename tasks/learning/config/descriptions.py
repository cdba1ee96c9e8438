"""Descriptions of settings for people: what a field means, what it allows, and its default, in one text.

The form in the Prefect UI shows a field's description and neither its bounds nor its default.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

#: How a bound is said, by the name that pydantic gives it.
BOUNDS = {"ge": "at least {}", "gt": "above {}", "le": "at most {}", "lt": "below {}"}

#: Fields that belong together, which the form shows one after the other below those that are in no group.
GROUPS = {
    "Learning Rate": ("schedule", "step_every", "step_factor", "final_learning_rate"),
    "Evaluation": ("evaluate_every", "patience"),
    "Machine": ("placement", "threads", "checkpoint_every"),
}

#: Fields that the form asks for outside of the experiment: the flow has a parameter of the same name.
ASKED_OUTSIDE = ("device",)


def arrange_form(schema: dict[str, Any], fields: Mapping[str, FieldInfo]) -> None:
    """Describes and groups the fields of a section in its JSON schema, of which the form is made.

    Args:
        schema: of the section; changed. A field that is asked for outside is still valid, and not shown.
        fields: of the section.
    """
    properties = schema["properties"]
    for name, info in fields.items():
        properties[name]["description"] = full_description(info)
    for position, (group, names) in enumerate(GROUPS.items(), 1):
        for found in (properties[name] for name in names if name in properties):
            found |= {"position": position, "title": f"{group}: {found['title']}"}
    if hidden := {f"^{name}$": properties.pop(name) for name in ASKED_OUTSIDE if name in properties}:
        schema["patternProperties"] = hidden


def describe_deployed(definitions: Mapping[str, Any], settings: BaseModel) -> None:
    """States the values of a deployment as the defaults: a field of the form that is left empty keeps them.

    Args:
        definitions: JSON schemas of the settings' classes, by their names; changed.
        settings: of the deployment, with sections of their own.
    """
    properties = definitions[type(settings).__name__]["properties"]
    for name, info in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            describe_deployed(definitions, value)
        elif name in properties:
            properties[name]["description"] = full_description(info, value)


def full_description(info: FieldInfo, value: Any = PydanticUndefined) -> str:
    """A field's description, its bounds and its default, such as "Passes over the rows. At least 1; default 100.".

    Args:
        info: of the field.
        value: to state as the default; that of the field when not given.
    """
    stated = info.default if value is PydanticUndefined else value
    allowed = "; ".join(filter(None, (", ".join(bounds(info)), default(stated))))
    return " ".join(filter(None, (info.description, allowed and f"{allowed[0].upper()}{allowed[1:]}.")))


def describe_choices(text: str, choices: Mapping[str, str]) -> str:
    """A description that says what each value means, such as "What is minimised: l1, the L1 loss; mse, …."."""
    return f"{text}: {'; '.join(f'{name}, {meaning}' for name, meaning in choices.items())}."


def bounds(info: FieldInfo) -> list[str]:
    """What bounds a number, each in a few words."""
    return [
        text.format(in_words(value))
        for constraint in constraints(info)
        for name, text in BOUNDS.items()
        if (value := getattr(constraint, name, None)) is not None
    ]


def constraints(info: FieldInfo) -> Iterator[Any]:
    """What a field is held to, and what it is held to if it is given."""
    yield from info.metadata
    for inner in (info.annotation, *get_args(info.annotation)):
        if get_origin(inner) is Annotated:
            for extra in get_args(inner)[1:]:
                yield from extra.metadata if isinstance(extra, FieldInfo) else (extra,)


def default(value: Any) -> str:
    """A default in words, or that there is none."""
    if value is PydanticUndefined:
        return "required"
    return "not given by default" if value is None else f"default {in_words(value)}"


def in_words(value: Any) -> str:
    """A value as people write it in a file."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(map(in_words, value)) or "none"
    if isinstance(value, str) and len(value) == 1:  # which may be a comma
        return repr(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)
