"""Registries as annotations: a text that is one of their names, and a section that has a class for each kind."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError

from tasks.learning.config.section import ByKind, Choice, Section


class Square(Section):
    kind: Literal["square"] = "square"
    side: float = Field(1.0, gt=0, description="Length.")


class Circle(Section):
    kind: Literal["circle"] = "circle"
    radius: float = Field(2.0, gt=0, description="Length.")


class Shape(Section):
    color: Annotated[str, Choice(("red", "blue"))] = "red"
    form: Annotated[Square | Circle, ByKind] = Field(default_factory=Square, description="The form.")


class Stated(Section):
    color: Literal["red", "blue"] = "red"


def first_error(given: Any) -> tuple[str, str]:
    with pytest.raises(ValidationError) as error:
        Shape.model_validate(given)
    (problem,) = error.value.errors()
    return ".".join(map(str, problem["loc"])), problem["msg"]


@pytest.mark.parametrize("color", ["green", 3, None, True])
def test_a_choice_refuses_what_a_literal_refuses_in_the_same_words(color: Any) -> None:
    with pytest.raises(ValidationError) as stated:
        Stated.model_validate({"color": color})
    assert first_error({"color": color}) == ("color", stated.value.errors()[0]["msg"])


def test_a_choice_has_the_schema_of_a_literal() -> None:
    color = Shape.model_json_schema()["properties"]["color"]
    assert color == Stated.model_json_schema()["properties"]["color"]
    assert color["enum"] == ["red", "blue"]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, Square()),
        ({"form": {}}, Square()),
        ({"form": {"side": 3.0}}, Square(side=3.0)),
        ({"form": {"kind": "circle"}}, Circle()),
        ({"form": {"kind": "circle", "radius": 1.0}}, Circle(radius=1.0)),
        ({"form": Circle()}, Circle()),
    ],
)
def test_the_kind_chooses_the_class_and_the_first_is_the_default(given: Any, found: Section) -> None:
    shape = Shape.model_validate(given)
    assert shape.form == found
    assert Shape.model_validate(shape.model_dump()) == shape
    assert Shape.model_validate_json(shape.model_dump_json()) == shape


@pytest.mark.parametrize(
    ("given", "field", "message"),
    [
        ({"kind": "circle", "radius": -1.0}, "form.radius", "greater than 0"),
        ({"kind": "circle", "side": 1.0}, "form.side", "not permitted"),
        ({"radius": 1.0}, "form.radius", "not permitted"),
        ({"kind": "cube"}, "form.kind", "Input should be 'square' or 'circle'"),
        ({"kind": ["circle"]}, "form.kind", "Input should be 'square' or 'circle'"),
    ],
)
def test_an_error_names_the_field_and_not_the_kind(given: Any, field: str, message: str) -> None:
    found, said = first_error({"form": given})
    assert found == field
    assert message in said


def test_what_is_no_section_is_refused() -> None:
    with pytest.raises(ValidationError, match="form"):
        Shape.model_validate({"form": 3})


def test_the_form_offers_every_kind() -> None:
    schema = Shape.model_json_schema()
    assert [part["$ref"].rpartition("/")[2] for part in schema["properties"]["form"]["anyOf"]] == ["Square", "Circle"]
