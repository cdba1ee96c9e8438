"""Predicted against actual: the rows that are predicted worst, and a picture of all of them.

The picture is written as text, in hundredths of the time that matplotlib takes to be imported.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.learning.data.tables import to_numpy

Floats = npt.NDArray[np.float64]

#: Rows that are listed as the worst, and points of each split that are drawn, at most.
MOST_ROWS, MOST_POINTS = 5, 400

#: The colours of the splits, as the other figures have them.
COLOURS = {"train": "#0072B2", "validation": "#009E73", "test": "#E69F00"}
INK, QUIET, RULE = "#1a1a1a", "#5f6368", "#e3e5e8"

#: Of the picture, and of the square inside of its axes; in pixels.
WIDTH, HEIGHT = 560, 350
LEFT, TOP, RIGHT, BOTTOM = 80, 40, 540, 300

FONT = 'font-family="DejaVu Sans, sans-serif" font-size="12"'

#: Ticks of an axis, at most; and between which multiples of a power of ten they lie.
MOST_TICKS, FACTORS = 5, (1, 2, 5, 10)


def worst_rows(predictions: pa.Table) -> list[dict[str, Any]]:
    """The rows with the largest residuals, the worst first.

    Args:
        predictions: of every row, with its split, features, target, prediction and residual (target − prediction).
    """
    errors = np.abs(to_numpy(predictions["residual"]))
    count = min(MOST_ROWS, len(errors))
    chosen = np.argpartition(-errors, count - 1)[:count] if count else np.empty(0, int)
    ordered = sorted(chosen.tolist(), key=lambda place: (-float(errors[place]), place))
    found: list[dict[str, Any]] = predictions.take(pa.array(ordered, pa.int64())).to_pylist()
    return found


def draw_predicted(predictions: pa.Table) -> bytes:
    """An SVG with the prediction of each row over its target; on the diagonal, both are the same.

    Of each split, at most MOST_POINTS evenly chosen rows are drawn.
    """
    splits = {str(name): sample(predictions, name) for name in pc.unique(predictions["split"]).to_pylist()}
    values = np.concatenate([np.concatenate(points) for points in splits.values()] or [np.zeros(1)])
    low, high = span(values)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {FONT}>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        *axes(low, high),
        f'<path d="M{LEFT} {BOTTOM}L{RIGHT} {TOP}" stroke="{QUIET}" stroke-dasharray="4 4"/>',
        *legend(list(splits)),
        *(dots(name, points, low, high) for name, points in splits.items()),
        "</svg>",
    ]
    return "\n".join(parts).encode()


def sample(predictions: pa.Table, split: str) -> tuple[Floats, Floats]:
    """Targets and predictions of evenly chosen rows of a split."""
    rows = predictions.filter(pc.equal(predictions["split"], split))
    places = np.unique(np.linspace(0, rows.num_rows - 1, min(rows.num_rows, MOST_POINTS)).round().astype(np.int64))
    chosen = rows.take(pa.array(places))
    return to_numpy(chosen["target"]).astype(np.float64), to_numpy(chosen["prediction"]).astype(np.float64)


def span(values: Floats) -> tuple[float, float]:
    """What both axes reach from and to; a little, around a single value."""
    low, high = float(values.min()), float(values.max())
    margin = (high - low) * 0.04 or abs(low) * 0.04 or 1.0
    return low - margin, high + margin


def axes(low: float, high: float) -> Iterator[str]:
    """The lines of the axes with their labels."""
    for value in ticks(low, high):
        fraction = (value - low) / (high - low)
        x, y = LEFT + fraction * (RIGHT - LEFT), BOTTOM - fraction * (BOTTOM - TOP)
        label = written(value, high - low)
        yield f'<path d="M{x:.1f} {TOP}V{BOTTOM}M{LEFT} {y:.1f}H{RIGHT}" stroke="{RULE}"/>'
        yield f'<text x="{x:.1f}" y="{BOTTOM + 18}" text-anchor="middle" fill="{INK}">{label}</text>'
        yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="{INK}">{label}</text>'
    yield f'<text x="{(LEFT + RIGHT) / 2:g}" y="{HEIGHT - 10}" text-anchor="middle" fill="{INK}">target</text>'
    middle = (TOP + BOTTOM) / 2
    turned = f'transform="rotate(-90 16 {middle:g})"'
    yield f'<text x="16" y="{middle:g}" text-anchor="middle" fill="{INK}" {turned}>prediction</text>'


def ticks(low: float, high: float) -> list[float]:
    """Round numbers between two others."""
    least = (high - low) / MOST_TICKS
    power = 10.0 ** math.floor(math.log10(least))
    step = next((factor * power for factor in FACTORS if factor * power >= least), 10 * power)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def written(value: float, extent: float) -> str:
    """A number with the digits that distinguish it from its neighbours on an axis of some extent."""
    digits = 3 + int(max(0.0, math.log10(max(abs(value) / extent, 1.0))))
    return f"{value:.{min(digits, 9)}g}"


def legend(splits: Sequence[str]) -> Iterator[str]:
    """The names of the splits, each with its dot."""
    for number, split in enumerate(splits):
        x = LEFT + 110 * number
        yield f'<circle cx="{x + 6}" cy="22" r="4" fill="{colour(split)}"/>'
        yield f'<text x="{x + 16}" y="26" fill="{INK}">{split if split in COLOURS else "other"}</text>'


def dots(split: str, points: tuple[Floats, Floats], low: float, high: float) -> str:
    """The rows of a split."""
    across, up = ((values - low) / (high - low) for values in points)
    marks = "".join(
        f'<circle cx="{LEFT + x * (RIGHT - LEFT):.1f}" cy="{BOTTOM - y * (BOTTOM - TOP):.1f}" r="3"/>'
        for x, y in zip(across.tolist(), up.tolist(), strict=True)
    )
    return f'<g fill="{colour(split)}" fill-opacity=".75">{marks}</g>'


def colour(split: str) -> str:
    """The colour of a split."""
    return COLOURS.get(split, QUIET)
