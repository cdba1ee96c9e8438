import re
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest

from tasks.learning.evaluation.predicted import (
    BOTTOM,
    LEFT,
    MOST_POINTS,
    RIGHT,
    TOP,
    draw_predicted,
    ticks,
    worst_rows,
    written,
)

SVG = "{http://www.w3.org/2000/svg}"


def predictions(targets, predicted, splits=None):
    targets, predicted = np.asarray(targets, np.float32), np.asarray(predicted, np.float32)
    rows = np.arange(len(targets))
    return pa.table(
        {
            "row": rows,
            "split": pa.array(splits or ["train"] * len(targets), pa.string()),
            "x": rows.astype(np.float32),
            "target": targets,
            "prediction": predicted,
            "residual": targets - predicted,
        }
    )


def parsed(svg: bytes):
    return ElementTree.fromstring(svg)  # noqa: S314 - it was written here


def points(svg: bytes, group: int = 0):
    """Where the dots of a split are."""
    found = parsed(svg).findall(f"{SVG}g")[group]
    return [(float(dot.get("cx")), float(dot.get("cy"))) for dot in found]


def labels(svg: bytes):
    return [text.text for text in parsed(svg).findall(f"{SVG}text")]


def test_the_worst_rows_come_first_whatever_their_sign():
    found = worst_rows(predictions([0, 0, 0, 0, 0, 0, 0, 0], [1, -7, 0, 3, 3, 2, -5, 4]))
    assert [row["row"] for row in found] == [1, 6, 7, 3, 4]
    assert found[0] == {"row": 1, "split": "train", "x": 1.0, "target": 0.0, "prediction": -7.0, "residual": 7.0}


@pytest.mark.parametrize("count", [0, 1, 5])
def test_of_few_rows_all_are_listed(count):
    assert len(worst_rows(predictions(np.arange(count), np.zeros(count)))) == count


def test_equal_predictions_lie_on_the_diagonal():
    for x, y in points(draw_predicted(predictions([-3, 0, 1.5], [-3, 0, 1.5]))):
        assert (x - LEFT) / (RIGHT - LEFT) == pytest.approx((BOTTOM - y) / (BOTTOM - TOP), abs=1e-3)


def test_a_prediction_that_is_too_high_lies_above_it():
    (x, y), *_ = points(draw_predicted(predictions([1, 0, 4], [3, 0, 4])))
    assert (BOTTOM - y) / (BOTTOM - TOP) > (x - LEFT) / (RIGHT - LEFT) + 0.3


def test_each_split_has_its_dots_and_its_name():
    svg = draw_predicted(predictions([1, 2, 3], [1, 2, 3], ["train", "test", "test"]))
    assert (len(points(svg, 0)), len(points(svg, 1))) == (1, 2)
    assert {"train", "test", "target", "prediction"} <= set(labels(svg))


def test_of_many_rows_a_few_are_drawn_from_the_first_to_the_last():
    values = np.linspace(0, 1, 100_000)
    svg = draw_predicted(predictions(values, values))
    found = points(svg)
    assert len(found) == MOST_POINTS
    assert len(svg) < 50_000
    assert found[-1][0] - found[0][0] > 0.9 * (RIGHT - LEFT)


@pytest.mark.parametrize("scale", [1e-38, 1e-30, 1e-7, 1.0, 1e6, 1e30, 3e38])
@pytest.mark.parametrize("shift", [0.0, 1.0, -1.0])
def test_any_scale_is_drawn_inside_of_the_axes(scale, shift):
    values = np.array([0.0, 0.3, 1.0]) * scale * 0.5 + shift * scale * 0.5
    svg = draw_predicted(predictions(values, values[::-1]))
    for x, y in points(svg):
        assert LEFT <= x <= RIGHT
        assert TOP <= y <= BOTTOM
    numbers = [float(label) for label in labels(svg) if re.fullmatch(r"[-+0-9.e]+", label)]
    assert 4 <= len(numbers) <= 12


@pytest.mark.parametrize("value", [0.0, 5.0, -1e30])
def test_a_single_value_is_drawn_in_the_middle(value):
    assert points(draw_predicted(predictions([value], [value]))) == [((LEFT + RIGHT) / 2, (TOP + BOTTOM) / 2)]


def test_no_rows_are_an_empty_picture():
    assert parsed(draw_predicted(predictions([], []))).tag == f"{SVG}svg"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0.276, 1.09, [0.4, 0.6, 0.8, 1.0]), (-7, 7, [-5, 0, 5])],
)
def test_ticks_are_round(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


def test_labels_tell_neighbours_apart():
    assert [written(value, 0.001) for value in (1000.0001, 1000.0002)] == ["1000.0001", "1000.0002"]
    assert written(0.30000000000000004, 1.0) == "0.3"
