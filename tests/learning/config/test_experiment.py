import re
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError
from torch import nn

from tasks.learning.config.acceptance import Accept
from tasks.learning.config.data import LineData
from tasks.learning.config.experiment import Experiment, rows_by_part
from tasks.learning.config.model import MODULE_NAMES, Model
from tasks.learning.config.split import BY_COLUMN, Split
from tasks.learning.config.training import Training, require_batch


def problems(section: type[Any], **settings: Any) -> str:
    """What is wrong with the settings of a section, in pydantic's words."""
    with pytest.raises(ValidationError) as caught:
        section.model_validate(settings)
    return str(caught.value)


def test_the_names_that_every_module_has_are_all_listed() -> None:
    assert {name for name in dir(nn.Module()) if re.fullmatch(r"[a-z][a-z0-9_]*", name)} <= MODULE_NAMES


@pytest.mark.parametrize("name", ["forward", "training", "Weights", "2nd", "a.b", "", "w" * 65, "weiß", "__class__"])
def test_a_parameter_must_have_a_name_of_its_own(name: str) -> None:
    assert "weight_name" in problems(Model, weight_name=name)


def test_the_two_parameters_must_have_different_names() -> None:
    assert "must differ" in problems(Model, weight_name="p", bias_name="p")


@pytest.mark.parametrize(
    ("section", "settings"),
    [
        (LineData, {"rows": True}),
        (LineData, {"rows": 2.0}),
        (LineData, {"rows": "2"}),
        (LineData, {"step": 0.0}),
        (LineData, {"step": float("nan")}),
        (LineData, {"noise": -0.1}),
        (LineData, {"weight": float("inf")}),
        (LineData, {"colour": "red"}),
        (LineData, {"seed": -1}),
        (Split, {"train": 0.0}),
        (Split, {"train": 1.0}),
        (Split, {"method": "sorted"}),
        (Split, {"column": ""}),
        (Split, {"column": "a\nb"}),
        (Split, {"cut": "2" * 41}),
        (Split, {"cut": 2020}),
        (Training, {"epochs": 0}),
        (Training, {"epochs": True}),
        (Training, {"learning_rate": 0.0}),
        (Training, {"learning_rate": float("nan")}),
        (Training, {"batch_size": 0}),
        (Training, {"device": "tpu"}),
        (Training, {"device": "cuda:x"}),
        (Training, {"shuffle": 1}),
        (Training, {"clip_norm": 0.0}),
        (Training, {"learning_rate": -0.1}),
        (Training, {"learning_rate": float("inf")}),
        (Training, {"learning_rate": 1e39}),
        (Training, {"weight_decay": 1e39}),
        (Training, {"final_learning_rate": 1e39}),
        (Training, {"epochs": 10**9}),
        (Training, {"evaluate_every": 10**30}),
        (Training, {"step_every": 10**30}),
        (Training, {"patience": 10**30}),
        (Model, {"initial_weight": 1e39}),
        (Model, {"initial_bias": -1e39}),
        (Model, {"hidden": []}),
        (Model, {"hidden": [0]}),
        (Model, {"hidden": [16_385]}),
        (Model, {"hidden": [1] * 65}),
        (Model, {"hidden": [16_384] * 2}),
        (Model, {"hidden": [8.0]}),
        (Model, {"hidden": 8}),
        (Model, {"activation": "sign"}),
        (Model, {"normalization": "group"}),
        (Model, {"dropout": 1.0}),
        (Model, {"residual": 1}),
        (Training, {"patience": 0}),
        (Experiment, {"name": "../x"}),
        (Experiment, {"name": "a\0b"}),
        (Experiment, {"name": "n" * 300}),
        (Experiment, {"checkpoint": "weights.pt"}),
        (Experiment, {"checkpoint": "../weights.pth"}),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_field(section: type[Any], settings: dict[str, Any]) -> None:
    assert next(iter(settings)) in problems(section, **settings)


@pytest.mark.parametrize(("rows", "size"), [(10, 3), (10, 1), (10, 9), (1, None)])
def test_a_batch_of_one_row_cannot_be_normalized(rows: int, size: int | None) -> None:
    with pytest.raises(ValueError, match=f"last batch of the {rows} training rows has a single row"):
        require_batch(size, rows, normalized=True)
    require_batch(size, rows, normalized=False)


@pytest.mark.parametrize(("rows", "size"), [(10, 4), (10, 10), (10, 2), (2, None)])
def test_batches_of_several_rows_can_be_normalized(rows: int, size: int | None) -> None:
    require_batch(size, rows, normalized=True)


def test_an_experiment_of_a_batch_that_cannot_be_normalized_is_refused() -> None:
    settings = {"model": {"kind": "mlp", "normalization": "batch"}, "training": {"batch_size": 39}}
    assert "has a single row" in problems(Experiment, **settings)
    settings["model"] |= {"kind": "linear"}
    Experiment.model_validate(settings)


@pytest.mark.parametrize("method", BY_COLUMN)
def test_a_method_that_divides_by_a_column_needs_one_of_a_table(method: str) -> None:
    assert f"method {method} needs a column: set split.column" in problems(Split, method=method)
    split = {"method": method, "column": "day"}
    assert f"split.method {method} is for tables" in problems(Experiment, split=split)
    table = {"kind": "table", "path": "a.csv", "target": "y"}
    Experiment.model_validate({"split": split, "data": table, "model": {"kind": "linear"}})


def test_fractions_need_not_leave_a_test_part_where_it_begins_at_a_cut() -> None:
    Split.model_validate({"method": "time", "column": "day", "cut": "2026-01-01", "validation": 0.5})
    assert "their sum must be below 1" in problems(Split, method="time", column="day", validation=0.5)
    assert "their sum must be below 1" in problems(Split, cut="2026-01-01", validation=0.5)


def test_nothing_is_missing_in_a_line() -> None:
    assert "model.impute is for tables" in problems(Experiment, model={"impute": ["x"]})


def integers(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every integer in a JSON schema, with where it stands."""
    if isinstance(schema, dict):
        if schema.get("type") == "integer":
            yield path, schema
        for name, inner in schema.items():
            yield from integers(inner, f"{path}/{name}")
    elif isinstance(schema, list):
        for inner in schema:
            yield from integers(inner, path)


def test_every_integer_is_one_that_json_carries_in_a_browser() -> None:
    found = dict(integers(Experiment.model_json_schema()))
    assert len(found) == 13
    assert [path for path, schema in found.items() if not schema.get("maximum", 2**53) < 2**53] == []


def test_whole_numbers_stand_for_real_ones() -> None:
    assert LineData.model_validate({"start": 0, "end": 2, "step": 1}).row_count == 2


@pytest.mark.parametrize(
    ("section", "settings", "nearest"),
    [
        (LineData, {"weight": 2**53 + 1}, "9007199254740992.0"),
        (LineData, {"bias": -(2**53) - 1}, "-9007199254740992.0"),
        (LineData, {"noise": 10**30 + 1}, "1e+30"),
        (Training, {"clip_norm": 2**53 + 3}, "9007199254740996.0"),
        (Model, {"initial_bias": 2**53 + 1}, "9007199254740992.0"),
        (Accept, {"max_loss": 2**53 + 1}, "9007199254740992.0"),
    ],
)
def test_one_that_no_real_number_stands_for_is_refused(
    section: type[Any], settings: dict[str, Any], nearest: str
) -> None:
    ((name, value),) = settings.items()
    found = problems(section, **settings)
    assert name in found
    assert f"no float64 is {value}; the nearest is {nearest}: write that if it will do" in found


@pytest.mark.parametrize("value", [2**53, 2**53 + 2, -(2**53), 2**100, 10**30, 123456789012345680000, 0])
def test_one_that_a_real_number_is_or_is_written_as_is_taken(value: int) -> None:
    assert LineData.model_validate({"weight": value}).weight == float(value)


def test_the_end_must_be_above_the_start() -> None:
    assert "end (1) must be above start (5)" in problems(LineData, start=5.0)


def test_a_slip_in_the_step_does_not_make_a_billion_rows() -> None:
    assert "1,000,000,000 rows" in problems(LineData, step=1e-9)


@pytest.mark.parametrize("way", [{"step": 1e-320}, {"start": -1e308, "end": 1e308}, {"end": 1e308, "step": 5e-324}])
def test_a_way_whose_steps_no_number_gives_is_refused(way: dict[str, float]) -> None:
    assert "makes inf rows; at most 100,000,000" in problems(LineData, **way)


def test_rows_take_the_place_of_the_step() -> None:
    assert LineData(rows=7, step=0.5).row_count == 7


def test_a_row_count_is_that_of_arange() -> None:
    assert LineData(start=0.0, end=1.0, step=0.3).row_count == 4


@pytest.mark.parametrize(
    ("split", "rows", "sizes"),
    [
        (Split(), 50, {"train": 40, "test": 10}),
        (Split(train=0.29), 100, {"train": 29, "test": 71}),
        (Split(train=0.5, validation=0.25), 8, {"train": 4, "validation": 2, "test": 2}),
    ],
)
def test_sizes_of_the_parts(split: Split, rows: int, sizes: dict[str, int]) -> None:
    assert split.sizes(rows) == sizes


@pytest.mark.parametrize("rows", [1, 4])
def test_no_part_is_empty(rows: int) -> None:
    part = "train" if rows == 1 else "validation"
    with pytest.raises(ValueError, match=f"leave the {part} part empty"):
        Split(train=0.8, validation=0.1).sizes(rows)


def test_fractions_must_leave_rows_to_test_on() -> None:
    assert "must leave a part for test" in problems(Split, train=0.9, validation=0.1)


def test_options_of_one_optimizer_are_not_taken_for_another() -> None:
    assert "momentum belongs to optimizer sgd" in problems(Training, optimizer="adam", momentum=0.9)


def test_a_cosine_does_not_climb() -> None:
    assert "must not be above learning_rate" in problems(Training, schedule="cosine", final_learning_rate=1.0)


def test_patience_needs_validation_rows() -> None:
    assert "training.patience needs validation rows" in problems(Experiment, training={"patience": 3})


def test_a_batch_is_not_larger_than_the_training_rows() -> None:
    assert "above the 40 training rows" in problems(Experiment, training={"batch_size": 41})
    assert Experiment.model_validate({"training": {"batch_size": 40}}).training.batch_size == 40


def test_all_problems_are_reported_at_once() -> None:
    reported = problems(Experiment, data={"rows": True, "x": 1}, training={"epochs": -1, "device": "tpu"})
    assert all(field in reported for field in ("data.rows", "data.x", "training.epochs", "training.device"))


def test_an_experiment_cannot_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Experiment().name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    "settings",
    [{"weight": 1e39}, {"weight": 3e38, "bias": 3e38}, {"end": 1e39, "step": 1e38}, {"start": -1e39, "rows": 5}],
)
def test_a_line_that_float32_cannot_hold_is_refused(settings: dict[str, float]) -> None:
    assert "more than float32 can hold" in problems(LineData, **settings)


def test_a_line_outside_the_range_of_cross_entropy_is_refused() -> None:
    data = {"weight": 2.0}
    assert "the line goes from 0.3 to 2.3" in problems(Experiment, data=data, training={"loss": "bce"})
    Experiment.model_validate({"training": {"loss": "bce"}})


def test_an_experiment_of_a_file_has_its_rows_whatever_else_it_says():
    reported = {"data": {"rows": 50}, "split": {"validation": 0.1}, "more": {"of": "another version"}, "training": None}
    assert rows_by_part(reported) == {"train": 40, "validation": 5, "test": 5}


@pytest.mark.parametrize(
    ("reported", "said"),
    [
        ({}, "data: Field required"),
        ({"data": 3, "split": {}}, "data: Input should be"),
        ({"data": {"rows": -1}, "split": {}}, r"data\.rows: Input should be greater than or equal to 1"),
        ({"data": {"rows": 10**12}, "split": {}}, r"data\.rows: Input should be less than or equal to 100000000"),
        ({"data": {"kind": "of tomorrow"}, "split": {}}, r"data\.kind: Input should be 'line'"),
        ({"data": {"rows": 1}, "split": {}}, "1 rows leave the train part empty"),
    ],
)
def test_or_that_it_has_none(reported, said):
    with pytest.raises(ValueError, match=said) as error:
        rows_by_part(reported)
    assert "\n" not in str(error.value)
