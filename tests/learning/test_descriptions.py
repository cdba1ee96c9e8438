import pytest
from pydantic import BaseModel, Field

from tasks.learning.descriptions import full_description
from tasks.learning.experiment import Experiment, Training


class Settings(BaseModel):
    both: int = Field(100, ge=1, le=10_000, description="Passes over the rows.")
    open_ended: float = Field(0.5, gt=0, lt=1, description="Fraction.")
    optional: int | None = Field(None, ge=1, description="Rows; all of them when not given.")
    plain: bool = Field(True, description="Whether.")
    required: str = Field(description="Name.")
    bare: float = 1e-9


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("both", "Passes over the rows. At least 1, at most 10,000; default 100."),
        ("open_ended", "Fraction. Above 0, below 1; default 0.5."),
        ("optional", "Rows; all of them when not given. At least 1."),
        ("plain", "Whether. Default true."),
        ("required", "Name."),
        ("bare", "Default 1e-09."),
    ],
)
def test_a_description_says_what_is_allowed_and_what_is_the_default(field, text):
    assert full_description(Settings.model_fields[field]) == text


def test_the_form_shows_the_same_descriptions():
    properties = Experiment.model_json_schema()["$defs"]["Training"]["properties"]
    assert properties["epochs"]["description"].endswith("At least 1, at most 10,000,000; default 100.")
    for name, info in Training.model_fields.items():
        assert properties[name]["description"] == full_description(info)
