import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from flows.ui.loss_curve import BOTTOM, LEFT, POINTS, RIGHT, TOP, Curve, LossAxis, draw_curve


def test_a_curve_keeps_few_points_evenly() -> None:
    curve = Curve()
    for epoch in range(1, 100_001):
        curve.add(epoch, 1 / epoch)
    epochs = [epoch for epoch, _ in curve.points]
    assert POINTS <= len(epochs) < 2 * POINTS
    assert epochs[0] == 1
    assert len({after - before for before, after in pairwise(epochs)}) == 1


def test_a_short_curve_keeps_every_point() -> None:
    curve = Curve()
    for epoch in range(5):
        curve.add(epoch, 0.5)
    assert curve.points == [(epoch, 0.5) for epoch in range(5)]


@pytest.mark.parametrize(
    ("losses", "marks", "is_logarithmic"),
    [
        ([0.9, 0.1], [0.0, 0.9], False),
        ([0.9, 0.001], [0.001, 0.9], True),
        ([0.9, *[0.9 / 60] * 3], [0.9 / 60, 0.9], True),
        ([0.9, 0.001, 0.0], [0.0, 0.001, 0.9], True),
        ([0.9, 0.1, 0.0], [0.0, 0.9], False),
        ([-2.0, -1.0], [-2.0, 0.0], False),
        ([0.0, 0.0], [0.0, 1.0], False),
    ],
)
def test_the_axis_starts_at_zero_or_is_logarithmic(
    losses: list[float], marks: list[float], is_logarithmic: bool
) -> None:
    axis = LossAxis(losses)
    assert (axis.marks, axis.is_logarithmic) == (marks, is_logarithmic)
    assert [axis.height(marks[0]), axis.height(marks[-1])] == [BOTTOM, TOP]


def test_a_long_title_is_pressed_into_the_width() -> None:
    width = f'textLength="{RIGHT - LEFT}"'
    assert width not in draw_curve([(1, 0.5)], 10, "Training loss of line")
    assert width in draw_curve([(1, 0.5)], 10, f"Training loss of {'m' * 64}")


@pytest.mark.parametrize("losses", [[0.5], [0.0, 0.0], [1e-9, 1.0], [3.0, 2.0, 1.0], [1e300, 1e-300], [1.0, 1e-9, 0.0]])
def test_the_line_stays_in_its_frame(losses: list[float]) -> None:
    drawn = draw_curve(list(enumerate(losses, 1)), 10, "Training")
    (line,) = re.findall(r'<polyline points="([^"]+)"', drawn)
    heights = [float(point.split(",")[1]) for point in line.split()]
    assert len(heights) == len(losses)
    assert all(TOP <= height <= BOTTOM for height in heights)


def test_what_looks_like_markup_is_text() -> None:
    drawn = draw_curve([(1, 0.5)], 10, '</text><script>alert("x")</script>')
    root = ElementTree.fromstring(drawn)  # noqa: S314 (it was made here)
    assert not [element for element in root.iter() if element.tag.endswith("script")]
    assert any((element.text or "").startswith("</text><script>") for element in root.iter())
