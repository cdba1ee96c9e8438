"""A loss curve while it grows, as SVG: drawn without matplotlib, whose import takes longer than many a training."""

import math
from collections.abc import Sequence
from html import escape

from tasks.learning.reporting.loss_scale import is_logarithmic

#: Twice as many points as this are thinned to this, so that a curve stays small however long the training is.
POINTS = 200

# In pixels.
WIDTH, HEIGHT = 720, 260
LEFT, RIGHT, TOP, BOTTOM = 70, 700, 44, 222

#: The size of a title in pixels, and the characters that certainly fit at this size; more are pressed together.
TITLE, TITLE_CHARACTERS = 14, 60

INK, QUIET, RULE, LINE = "#1a1a1a", "#5f6368", "#e3e5e8", "#0072B2"

Point = tuple[int, float]


class Curve:
    """Losses by epoch; of many, evenly chosen ones."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self._stride, self._added = 1, 0

    def add(self, epoch: int, loss: float) -> None:
        """Adds the loss of an epoch, which comes after all those before."""
        if self._added % self._stride == 0:
            self.points.append((epoch, loss))
        self._added += 1
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
    axis = LossAxis([loss for _, loss in points])
    places = [(LEFT + epoch / epochs * (RIGHT - LEFT), axis.height(loss)) for epoch, loss in points]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    last_x, last_y = places[-1]
    marks = "".join(
        f'<line x1="{LEFT}" x2="{RIGHT}" y1="{height:.1f}" y2="{height:.1f}" stroke="{RULE}"/>'
        f'<text x="{LEFT - 8}" y="{height + 4:.1f}" text-anchor="end">{mark:.3g}</text>'
        for mark, height in ((mark, axis.height(mark)) for mark in axis.marks)
    )
    is_long = len(title) > TITLE_CHARACTERS
    size = TITLE * TITLE_CHARACTERS / len(title) if is_long else TITLE
    fitted = f' textLength="{RIGHT - LEFT}" lengthAdjust="spacingAndGlyphs"' if is_long else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="sans-serif" font-size="12" fill="{QUIET}">'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>'
        f'<text x="{LEFT}" y="24" fill="{INK}" font-size="{size:.1f}" font-weight="bold"{fitted}>'
        f"{escape(title)}</text>"
        f"{marks}"
        f'<text x="{RIGHT}" y="{TOP - 4}" text-anchor="end">{"logarithmic axis" if axis.is_logarithmic else ""}</text>'
        f'<text x="{LEFT}" y="{BOTTOM + 20}">0</text>'
        f'<text x="{(LEFT + RIGHT) / 2}" y="{BOTTOM + 20}" text-anchor="middle">epoch</text>'
        f'<text x="{RIGHT}" y="{BOTTOM + 20}" text-anchor="end">{epochs:,}</text>'
        f'<polyline points="{line}" fill="none" stroke="{LINE}" stroke-width="2" stroke-linejoin="round"/>'
        f'<circle cx="{last_x:.1f}" cy="{last_y:.1f}" r="4" fill="{LINE}"/>'
        "</svg>"
    )


class LossAxis:
    """Where losses stand: on an axis from 0 on, or on a logarithmic one, whose lowest decade is for those of 0.

    Attributes:
        is_logarithmic: which of the two.
        marks: losses that are written beside the axis, from the lower end to the upper.
    """

    def __init__(self, losses: Sequence[float]) -> None:
        self.is_logarithmic = is_logarithmic(losses)
        low, high = min(*losses, 0.0), max(*losses, 0.0)
        if not self.is_logarithmic:
            self.marks = [low, high if high > low else low + 1.0]
            self._bottom, self._top = self.marks
            return
        smallest = min(loss for loss in losses if loss > 0)
        self.marks = [*([0.0] if min(losses) <= 0 else []), smallest, high]
        self._bottom, self._top = math.log10(smallest) - (len(self.marks) - 2), math.log10(high)

    def height(self, loss: float) -> float:
        """Pixels from the top."""
        place = loss
        if self.is_logarithmic:
            place = math.log10(loss) if loss > 0 else self._bottom
        return BOTTOM - (place - self._bottom) / (self._top - self._bottom) * (BOTTOM - TOP)
