from collections.abc import Callable
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError
from pydantic.fields import FieldInfo

from flows.config.options import ExperimentOptions, options_of
from tasks.learning.config.data import LineData
from tasks.learning.config.descriptions import full_description
from tasks.learning.config.experiment import Experiment
from tasks.learning.config.section import ByKind, Section

Describe = Callable[[FieldInfo], str | None]


def leaves(model: type[BaseModel], describe: Describe, prefix: str = "") -> dict[str, str | None]:
    """The fields of a model at any depth, with their descriptions."""
    found: dict[str, str | None] = {}
    for name, info in model.model_fields.items():
        kinds = [info.annotation, *getattr(info.annotation, "__args__", ())]
        nested = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        for kind in reversed(nested):  # what several kinds have is described by the first
            found |= leaves(kind, describe, f"{prefix}{name}.")
        found |= {} if nested else {f"{prefix}{name}": describe(info)}
    return found


def given(**values: object) -> dict[str, object]:
    """The options as the command line hands them on."""
    options: dict[str, object] = ExperimentOptions.model_validate(values).model_dump(exclude_unset=True)
    return options


def test_every_field_of_the_experiment_is_an_option_with_its_help() -> None:
    options = leaves(ExperimentOptions, lambda info: info.description)
    assert options == leaves(Experiment, full_description)
    assert all(options.values())


def test_options_that_are_not_given_change_nothing() -> None:
    assert given() == {}


def test_texts_become_what_the_field_holds() -> None:
    changes = given(training={"epochs": "7", "learning_rate": "0.5", "shuffle": "false"}, data={"rows": "10"})
    assert changes == {"training": {"epochs": 7, "learning_rate": 0.5, "shuffle": False}, "data": {"rows": 10}}


def test_none_clears_a_field_that_may_be_empty() -> None:
    assert given(training={"batch_size": "none"}) == {"training": {"batch_size": None}}
    with pytest.raises(ValidationError):
        given(training={"epochs": "none"})


@pytest.mark.parametrize(("field", "value"), [("epochs", "0"), ("epochs", "1.5"), ("momentum", "1"), ("loss", "l3")])
def test_bounds_and_choices_are_those_of_the_experiment(field: str, value: str) -> None:
    with pytest.raises(ValidationError):
        given(training={field: value})


class Wave(LineData):
    """A second kind of dataset, with a setting of its own and one that has another type."""

    kind: Literal["wave"] = "wave"  # type: ignore[assignment]
    length: float = Field(1.0, gt=0, description="Of a wave.")
    step: int = Field(1, ge=1, description="Rows.")  # type: ignore[assignment]


class TwoKinds(Section):
    data: Annotated[LineData | Wave, ByKind] = Field(default_factory=LineData, description="The dataset.")


def test_a_section_of_several_kinds_has_the_options_of_all_of_them() -> None:
    options = options_of(TwoKinds)
    taken = {"kind": "wave", "length": "2.5", "weight": "3", "step": "0.25"}
    found = options.model_validate({"data": taken}).model_dump(exclude_unset=True)
    assert found == {"data": {"kind": "wave", "length": 2.5, "weight": 3.0, "step": 0.25}}
    for wrong in ({"kind": "circle"}, {"length": "0"}, {"step": "0"}):
        with pytest.raises(ValidationError):
            options.model_validate({"data": wrong})


def test_a_choice_that_is_not_given_is_no_value() -> None:
    assert given(model={"kind": None}) == {"model": {"kind": None}}
    with pytest.raises(ValidationError):
        given(model={"kind": "circle"})
