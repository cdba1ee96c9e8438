"""Figures of numbers of any size: what is written in them fits, and says what the numbers are."""

from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text

from tasks.learning.reporting.drift_figure import draw_drift
from tasks.learning.reporting.figure_style import styled
from tasks.learning.reporting.figures import draw_data, draw_losses, draw_predictions, draw_residuals
from tasks.learning.reporting.ticks import mark_powers, shorten_ticks
from tests.learning.reporting.test_drift_figure import LABELS, LONGEST_TITLE, nights, track

LONGEST_NAME = "m" * 64

#: Of x and y each: where it begins, and what it spans; and how many rows, epochs and runs there are.
SCALES = {
    "1e-30": ((0, 1e-30), (3e-31, 7e-31), 50),
    "1e-12": ((0, 1e-12), (3e-13, 7e-13), 50),
    "1e-7": ((0, 1e-7), (3e-8, 7e-8), 50),
    "1e-3": ((-1e-3, 2e-3), (-3e-3, 7e-3), 50),
    "1": ((0, 1), (0.3, 0.7), 50),
    "1e3": ((0, 1e3), (-300, 700), 50),
    "from 1e6": ((1e6, 0.5), (-1e6, 0.5), 50),
    "1e12": ((0, 1e12), (3e11, 7e11), 50),
    "1e30": ((0, 1e30), (3e29, 7e29), 50),
    "constant": ((0, 1), (1e6, 0), 50),
    "one point": ((1e6, 0), (12345.678, 0), 1),
    "a million points": ((0, 2e4), (0.3, 0.7), 1_000_000),
}


def spread(scale, count):
    """So many numbers of a scale in float32, as tables hold them."""
    start, span = scale
    return (start + span * np.linspace(0, 1, count)).astype(np.float32)


def predictions(x_scale, y_scale, count):
    x, target = spread(x_scale, count), spread(y_scale, count)
    noise = 0.02 * np.sin(np.arange(count)) * (y_scale[1] or y_scale[0])
    prediction = (target + noise).astype(np.float32)
    parts = [count - 2 * (count // 5), count // 5, count // 5]
    split = np.repeat(["train", "validation", "test"], parts)
    columns = {"split": split, "x": x, "y": target, "target": target, "prediction": prediction}
    return pa.table(columns | {"residual": target - prediction})


def data(*scale):
    table = predictions(*scale)
    parts = table["split"].to_numpy()
    return draw_data({part: table.filter(pa.array(parts == part)) for part in np.unique(parts)}, LONGEST_NAME)


def losses(x_scale, y_scale, count, loss="bce"):
    largest = np.abs(spread(y_scale, count)).max().item()
    train = largest * (np.exp(-np.arange(count) / 200) + 0.01 if y_scale[1] else np.ones(count))
    held_out = pa.array(train, mask=np.arange(count) % 10 > 0)
    columns = {"epoch": np.arange(count), "train_loss": train, "validation_loss": held_out, "test_loss": held_out}
    final = {part: {"loss": 1.23e-3 * largest} for part in ("train", "test")}
    return draw_losses(pa.table(columns), final, loss, LONGEST_NAME)


def drift(x_scale, y_scale, count):
    start, span = y_scale
    runs = min(count, 360)
    values = [start + span * value for value in nights(runs, bad=range(9, runs, 12))]
    return draw_drift(
        [track(values, label) for label in LABELS], ["2026-11-30\n02:00"] * runs, LONGEST_NAME, LONGEST_TITLE
    )


FIGURES = {
    "data": data,
    "predictions": lambda *scale: draw_predictions(predictions(*scale), False, LONGEST_NAME),
    "residuals": lambda *scale: draw_residuals(predictions(*scale), LONGEST_NAME),
    "loss": losses,
    "history": drift,
}


def written(figure: Figure):
    """Where everything that is written in a figure stands, by its text; a legend as a whole."""
    with styled():
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    legends = figure.findobj(Legend)
    inside = {text for legend in legends for text in legend.findobj(Text)}
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text() and text not in inside]
    named = [("the legend", legend) for legend in legends] + [(text.get_text(), text) for text in texts]
    return [(name, artist.get_window_extent(canvas.get_renderer())) for name, artist in named]


@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES)
@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_nothing_that_is_written_overlaps_or_is_cut_off(draw, scale):
    figure = draw(*scale)
    boxes = written(figure)
    cut = [name for name, box in boxes if not figure.bbox.contains(*box.min) or not figure.bbox.contains(*box.max)]
    overlapping = [(one, other) for (one, a), (other, b) in combinations(boxes, 2) if a.overlaps(b)]
    assert (cut, overlapping) == ([], [])
    for axes in figure.axes:
        ticks = [label.get_text() for label in axes.get_yticklabels()]
        assert len(ticks) == len(set(ticks)) >= 2


@pytest.mark.parametrize(
    ("ticks", "labels", "taken_out"),
    [
        ([0, 0.25, 0.5], ["0.00", "0.25", "0.50"], ""),
        ([-0.025, 0, 0.025], ["−0.025", "0.000", "0.025"], ""),
        ([-0.0025, 0, 0.0025], ["−2.5", "0.0", "2.5"], ", ×10⁻³"),
        ([0, 5e-8, 1e-7], ["0.0", "0.5", "1.0"], ", ×10⁻⁷"),
        ([0, 50_000, 100_000], ["0", "50000", "100000"], ""),
        ([0, 1e30, 2e30], ["0", "1", "2"], ", ×10³⁰"),
        ([1000, 1000.2, 1000.4], ["1000.0", "1000.2", "1000.4"], ""),
        ([1e6, 1e6 + 0.2, 1e6 + 0.4], ["0.0", "0.2", "0.4"], " − 1,000,000"),
        ([1e6 - 0.2, 1e6, 1e6 + 0.2], ["0.8", "1.0", "1.2"], " − 999,999"),
        ([-1e6 - 0.4, -1e6 - 0.2], ["−0.4", "−0.2"], " + 1,000,000"),
        ([1e6, 1e6 + 2e-5, 1e6 + 4e-5], ["0", "2", "4"], " − 1,000,000, ×10⁻⁵"),
        ([1e30, 1.0000002e30, 1.0000004e30], ["0", "2", "4"], " − 1×10³⁰, ×10²³"),
        ([1e-300, 2e-300], ["1", "2"], ", ×10⁻³⁰⁰"),
        ([0.7], ["0.7"], ""),
    ],
)
def test_what_ticks_have_in_common_is_taken_out_of_them(ticks, labels, taken_out):
    axis = Figure().add_subplot().yaxis
    axis.axes.set_ylim(min(ticks) * 0.9 if len(ticks) == 1 else min(ticks), max(ticks))
    axis.set_ticks(ticks)
    assert shorten_ticks(axis) == taken_out
    assert [label.get_text() for label in axis.get_ticklabels()] == labels


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.004, 1.2, ["0.01", "0.1", "1"]),
        (0.04, 1.2, ["0.05", "0.1", "0.2", "0.5", "1"]),
        (4e-7, 1.2e-5, ["5×10⁻⁷", "10⁻⁶", "2×10⁻⁶", "5×10⁻⁶", "10⁻⁵"]),
        (1, 20_000, ["1", "10", "100", "1,000", "10,000"]),
        (1, 200_000, ["10⁰", "10¹", "10²", "10³", "10⁴", "10⁵"]),
        (1e-30, 1e30, ["10⁻³⁰", "10⁻²²", "10⁻¹⁴", "10⁻⁶", "10²", "10¹⁰", "10¹⁸", "10²⁶"]),
    ],
)
def test_powers_are_written_in_full_if_they_are_short(low, high, labels):
    axes = Figure().add_subplot()
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    mark_powers(axes.yaxis, low, high)
    assert [label.get_text() for label in axes.get_yticklabels()] == labels
