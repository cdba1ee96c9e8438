"""A loss curve while it grows, as SVG: drawn without matplotlib, whose import takes longer than many a training."""

import math
from collections.abc import Sequence
from html import escape

#: Twice as many points as this are thinned to this, so that a curve stays small however long the training is.
POINTS = 200

#: A loss that spans more than this factor is drawn on a logarithmic axis.
LOGARITHMIC_FROM = 100

# In pixels.
WIDTH, HEIGHT = 720, 260
LEFT, RIGHT, TOP, BOTTOM = 70, 700, 44, 222

INK, QUIET, RULE, LINE = "#1a1a1a", "#5f6368", "#e3e5e8", "#0072B2"

Point = tuple[int, float]


class Curve:
    """Losses by epoch; of many, evenly chosen ones."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self._stride, self._offered = 1, 0

    def add(self, epoch: int, loss: float) -> None:
        """Offers the loss of an epoch after all those before."""
        if self._offered % self._stride == 0:
            self.points.append((epoch, loss))
        self._offered += 1
        if len(self.points) >= 2 * POINTS:
            del self.points[1::2]
            self._stride *= 2


def draw_curve(points: Sequence[Point], epochs: int, title: str) -> str:
    """An SVG of a loss over the epochs.

    Args:
        points: epoch and loss, finite, in order; at least one.
        epochs: of the whole training, where the axis ends.
        title: above the curve.
    """
    losses = [loss for _, loss in points]
    low, high, logarithmic = loss_axis(min(losses), max(losses))

    def height(loss: float) -> float:
        """Pixels from the top."""
        values = [math.log10(value) for value in (loss, low, high)] if logarithmic else [loss, low, high]
        return BOTTOM - (values[0] - values[1]) / (values[2] - values[1]) * (BOTTOM - TOP)

    places = [(LEFT + epoch / epochs * (RIGHT - LEFT), height(loss)) for epoch, loss in points]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    last_x, last_y = places[-1]
    marks = "".join(
        f'<line x1="{LEFT}" x2="{RIGHT}" y1="{height(mark):.1f}" y2="{height(mark):.1f}" stroke="{RULE}"/>'
        f'<text x="{LEFT - 8}" y="{height(mark) + 4:.1f}" text-anchor="end">{mark:.3g}</text>'
        for mark in (low, high)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="sans-serif" font-size="12" fill="{QUIET}">'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>'
        f'<text x="{LEFT}" y="24" fill="{INK}" font-size="14" font-weight="bold">{escape(title)}</text>'
        f"{marks}"
        f'<text x="{RIGHT}" y="24" text-anchor="end">{"logarithmic" if logarithmic else ""}</text>'
        f'<text x="{LEFT}" y="{BOTTOM + 20}">0</text>'
        f'<text x="{(LEFT + RIGHT) / 2}" y="{BOTTOM + 20}" text-anchor="middle">epoch</text>'
        f'<text x="{RIGHT}" y="{BOTTOM + 20}" text-anchor="end">{epochs:,}</text>'
        f'<polyline points="{line}" fill="none" stroke="{LINE}" stroke-width="2" stroke-linejoin="round"/>'
        f'<circle cx="{last_x:.1f}" cy="{last_y:.1f}" r="4" fill="{LINE}"/>'
        "</svg>"
    )


def loss_axis(smallest: float, largest: float) -> tuple[float, float, bool]:
    """Where the axis of a loss begins and ends, and whether it is logarithmic: from 0 on if it is not."""
    if smallest > 0 and largest > LOGARITHMIC_FROM * smallest:
        return smallest, largest, True
    low, high = min(smallest, 0.0), max(largest, 0.0)
    return low, high if high > low else low + 1.0, False
