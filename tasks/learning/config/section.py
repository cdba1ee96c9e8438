"""What the sections of an experiment are made of: strict, frozen models whose fields describe themselves."""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Annotated, Any, get_args

from pydantic import (
    AllowInfNan,
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
)
from pydantic_core import CoreSchema, InitErrorDetails, core_schema

from tasks.learning.config.descriptions import arrange_form

Real = Annotated[float, AllowInfNan(False)]


#: An integer as a text, as the command line gives it.
INTEGER = re.compile(r"[+-]?\d+")


def unrounded(given: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """Validates a field; an integer may stand for a real number that is the same, or is written so, as 10³⁰ is.

    Raises:
        ValueError: the integer would be rounded.
    """
    value = validate(given)
    is_whole = isinstance(given, int) or (isinstance(given, str) and INTEGER.fullmatch(given))
    if is_whole and isinstance(value, float) and Decimal(given) not in (Decimal(value), Decimal(repr(value))):
        raise ValueError(f"no float64 is {given}; the nearest is {value!r}: write that if it will do")
    return value


class Section(BaseModel):
    """What the sections share: unknown keys are refused, types are strict, and values cannot change afterwards."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    # Decorated, so that the keys of stages see it for what it is: it refuses values, and shapes no result.
    @field_validator("*", mode="wrap")
    @classmethod
    def _unrounded(cls, given: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        return unrounded(given, validate)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The JSON schema, of which the form in the Prefect UI is made."""
        schema = handler(core_schema)
        arrange_form(handler.resolve_ref_schema(schema), cls.model_fields)
        return schema


class Choice:
    """Annotates a text that is one of the names of a registry, with the same errors and JSON schema as a Literal.

    A Literal would have to list the names a second time. In an annotation, the registry is no part of a stage's key,
    which has the chosen name.
    """

    def __init__(self, names: Iterable[str]) -> None:
        """Allow the names, in their order."""
        self.names = tuple(names)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """One of the names."""
        return core_schema.literal_schema(list(self.names))


def sections_of(annotation: Any) -> tuple[type[Section], ...]:
    """The classes of sections in an annotation: one, those of a union, or none."""
    found = (annotation, *get_args(annotation))
    return tuple(kind for kind in found if isinstance(kind, type) and issubclass(kind, Section))


class ByKind:
    """Annotates a section that has a class for each kind: the field `kind` chooses it, and the first is the default.

    A union that pydantic discriminates would do the same, but it demands `kind` where there are two classes and none
    where there is one, and it names the kind in the place of every error, as in `data.line.step`. The class
    itself is the annotation: a call at the top of a module would be part of every stage's key.
    """

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The class that is chosen."""
        kinds = {kind.model_fields["kind"].default: kind for kind in sections_of(source)}
        first = next(iter(kinds))

        def choose(given: Any, validate: ValidatorFunctionWrapHandler) -> Any:
            if isinstance(given, tuple(kinds.values())):
                return validate(given)
            if not isinstance(given, Mapping):
                return kinds[first].model_validate(given)  # which refuses it
            kind = given.get("kind", first)
            if kind not in tuple(kinds):  # it may be of any type
                wrong = InitErrorDetails(
                    type="literal_error", loc=("kind",), input=kind, ctx={"expected": " or ".join(map(repr, kinds))}
                )
                raise ValidationError.from_exception_data("kind", [wrong])
            return kinds[kind].model_validate(given)

        return core_schema.no_info_wrap_validator_function(choose, handler(source))
