"""What the sections of an experiment are made of: strict, frozen models whose fields describe themselves."""

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import (
    AllowInfNan,
    BaseModel,
    ConfigDict,
    GetJsonSchemaHandler,
    ValidatorFunctionWrapHandler,
    field_validator,
)
from pydantic_core import CoreSchema

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
