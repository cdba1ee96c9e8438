import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from flows.curve import BOTTOM, POINTS, TOP, Curve, draw_curve, loss_axis


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
    ("losses", "axis"),
    [
        ((0.1, 0.9), (0.0, 0.9, False)),
        ((0.001, 0.9), (0.001, 0.9, True)),
        ((0.0, 0.9), (0.0, 0.9, False)),
        ((-2.0, -1.0), (-2.0, 0.0, False)),
        ((0.0, 0.0), (0.0, 1.0, False)),
    ],
)
def test_the_axis_starts_at_zero_or_is_logarithmic(
    losses: tuple[float, float], axis: tuple[float, float, bool]
) -> None:
    assert loss_axis(*losses) == axis


@pytest.mark.parametrize("losses", [[0.5], [0.0, 0.0], [1e-9, 1.0], [3.0, 2.0, 1.0], [1e300, 1e-300]])
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
