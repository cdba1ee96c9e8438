"""What the sections of an experiment are made of: strict, frozen models whose fields describe themselves."""

from typing import Annotated, Any

from pydantic import AllowInfNan, BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic_core import CoreSchema

from tasks.learning.descriptions import arrange_form

Real = Annotated[float, AllowInfNan(False)]


class Section(BaseModel):
    """What the sections share: unknown keys are refused, types are strict, and values cannot change afterwards."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The JSON schema, of which the form in the Prefect UI is made."""
        schema = handler(core_schema)
        arrange_form(handler.resolve_ref_schema(schema), cls.model_fields)
        return schema
