"""The figures of a run: data, predictions, losses and residuals, as PNG and SVG.

Equal tables give equal bytes. Every colour comes with a marker or a line style of its own, so that the figures also
hold in greyscale.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from tasks.learning.figure_style import BLUE, GREEN, INK, ORANGE, QUIET, styled, write_heading
from tasks.learning.labels import LOSS_LABELS
from tasks.learning.tables import to_numpy

Floats = npt.NDArray[np.float64]

#: Points of one figure; more than these hide each other and make an SVG slow to open.
MOST_POINTS = 2_000

#: A loss that spans more than this factor is drawn on a logarithmic axis.
_LOGARITHMIC_FROM = 100

#: Diameters of markers, in points.
_LARGEST_MARKER, _SMALLEST_MARKER = 6, 2.5

#: Markers on a curve; more than these make it a caterpillar.
_MOST_MARKERS = 25


class _Look(NamedTuple):
    """How a part of the rows is drawn."""

    color: str
    marker: str
    line: str


_LOOKS = {
    "train": _Look(BLUE, "o", "-"),
    "validation": _Look(GREEN, "^", "-."),
    "test": _Look(ORANGE, "s", "--"),
}


def draw_data(parts: Mapping[str, pa.Table], name: str) -> Figure:
    """The rows of the dataset by part.

    Args:
        parts: columns x and y of each part, by its name.
        name: of the experiment.
    """
    total = sum(rows.num_rows for rows in parts.values())
    shares = ", ".join(f"{rows.num_rows:,} {part}" for part, rows in parts.items())
    with styled():
        figure, axes = _canvas(name, f"{total:,} rows: {shares}", "x", "y")
        for part, rows in parts.items():
            _scatter(axes, part, rows, "y", total)
        _note_thinning(figure, total)
        _legend(axes)
    return figure


def draw_predictions(predictions: pa.Table, trained: bool, name: str) -> Figure:
    """The predictions of the trained or the untrained model over the data.

    Args:
        predictions: columns split, x, target and prediction.
        trained: whether the model was.
        name: of the experiment.
    """
    total = predictions.num_rows
    error = np.mean(np.abs(_numbers(predictions["target"]) - _numbers(predictions["prediction"])))
    title = f"{'After' if trained else 'Before'} training, predictions miss by {error:.3g} on average"
    with styled():
        figure, axes = _canvas(name, title, "x", "y")
        for part, rows in _by_part(predictions):
            _scatter(axes, part, rows, "target", total)
        style: dict[str, Any] = {"marker": "x", "color": INK, "markersize": 0.8 * _marker_size(total)}
        axes.plot(*_points(predictions, total, "x", "prediction"), linestyle="none", label="predicted", **style)
        _note_thinning(figure, total)
        _legend(axes)
    return figure


def draw_residuals(predictions: pa.Table, name: str) -> Figure:
    """What the trained model's predictions leave of the targets.

    Args:
        predictions: columns split, x and residual.
        name: of the experiment.
    """
    total = predictions.num_rows
    largest = np.max(np.abs(_numbers(predictions["residual"])))
    with styled():
        title = f"No prediction misses by more than {largest:.3g}"
        figure, axes = _canvas(name, title, "x", "residual (target − prediction)")
        axes.axhline(0, color=QUIET, linewidth=1)
        for part, rows in _by_part(predictions):
            _scatter(axes, part, rows, "residual", total)
        _note_thinning(figure, total)
        _legend(axes)
    return figure


def draw_losses(history: pa.Table, loss: str, name: str) -> Figure:
    """The losses over the epochs, on a logarithmic axis if they span more than two decades.

    Args:
        history: columns epoch, train_loss, validation_loss (if there is such a part) and test_loss.
        loss: the one that was minimised: l1, mse, huber or bce.
        name: of the experiment.
    """
    curves = {part: _curve(history, part) for part in _LOOKS if f"{part}_loss" in history.column_names}
    title = ", ".join(
        f"{part} loss {losses[0]:.3g} → {losses[-1]:.3g}"
        for part, (_, losses) in curves.items()
        if part != "validation"
    )
    with styled():
        figure, axes = _canvas(name, title.capitalize(), "epoch", LOSS_LABELS[loss])
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        for part, (epochs, losses) in curves.items():
            _draw_curve(axes, part, epochs, losses)
        _scale(axes, np.concatenate([losses for _, losses in curves.values()]))
        _legend(axes)
    return figure


def _canvas(name: str, title: str, x_label: str, y_label: str) -> tuple[Figure, Axes]:
    """An empty figure. Its layout is fixed, which takes none of the time that fitting one takes."""
    figure = Figure(figsize=(7.2, 4.4), dpi=120)
    axes = figure.add_axes((0.115, 0.125, 0.86, 0.68))
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.yaxis.set_label_coords(-0.1, 0.5)
    write_heading(figure, name, title, left=0.115)
    return figure, axes


def _scatter(axes: Axes, part: str, rows: pa.Table, y: str, of_all: int) -> None:
    """The points (x, y) of a part of `of_all` rows."""
    look = _LOOKS[part]
    style: dict[str, Any] = {
        "marker": look.marker,
        "color": look.color,
        "markersize": _marker_size(of_all),
        "markeredgewidth": 0,
    }
    axes.plot(*_points(rows, of_all, "x", y), linestyle="none", label=part, **style)


def _marker_size(rows: int) -> float:
    """Points wide: smaller the more rows there are, so that a crowd stays a cloud."""
    return float(np.clip(_LARGEST_MARKER * np.sqrt(150 / rows), _SMALLEST_MARKER, _LARGEST_MARKER))


def _draw_curve(axes: Axes, part: str, epochs: Floats, losses: Floats) -> None:
    """A curve; a marker stands where a held-out part was evaluated, or at a single point that would not show."""
    look = _LOOKS[part]
    marked = part != "train" or len(epochs) == 1
    axes.plot(
        epochs,
        losses,
        linestyle=look.line,
        color=look.color,
        linewidth=1.8,
        marker=look.marker if marked else None,
        markersize=8 if part == "validation" else 5,  # what lies under the test curve still shows
        markevery=max(1, len(epochs) // _MOST_MARKERS),
        label=part,
    )


def _scale(axes: Axes, losses: Floats) -> None:
    """The loss axis: from 0, or logarithmic where that would press most of a curve onto the bottom."""
    if losses.min() > 0 and losses.max() > _LOGARITHMIC_FROM * losses.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(bottom=0)


def _legend(axes: Axes) -> None:
    """The legend in one row between title and axes, where it cannot hide a point."""
    sizes = [line.get_markersize() for line in axes.lines if line.get_marker() != "None"]
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (-0.012, 0.985), "ncols": 4}
    axes.legend(**place, handletextpad=0.4, columnspacing=1.6, markerscale=_LARGEST_MARKER / max(sizes, default=6))


def _note_thinning(figure: Figure, rows: int) -> None:
    if (stride := _stride(rows)) > 1:
        figure.text(0.975, 0.035, f"one row in {stride:,} is drawn", color=QUIET, fontsize=8, ha="right", va="center")


def _stride(points: int) -> int:
    """One point in so many is drawn, so that MOST_POINTS are, and by rounding perhaps one more a part."""
    return -(-points // MOST_POINTS)


def _points(rows: pa.Table, of_all: int, *names: str) -> list[Floats]:
    """Columns of a part of `of_all` rows, thinned as all of them are."""
    return [_numbers(rows[name])[:: _stride(of_all)] for name in names]


def _curve(history: pa.Table, part: str) -> tuple[Floats, Floats]:
    """Epochs and losses where the loss of a part is known, thinned, the last one kept."""
    known = history.filter(history[f"{part}_loss"].is_valid())
    drawn = np.union1d(np.arange(0, known.num_rows, _stride(known.num_rows)), [known.num_rows - 1])
    return _numbers(known["epoch"])[drawn], _numbers(known[f"{part}_loss"])[drawn]


def _by_part(predictions: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """The rows of each part that has any, in the order of the legend."""
    present = {part.as_py(): part for part in predictions["split"].unique()}
    for name in _LOOKS:
        if name in present:
            yield name, predictions.filter(pc.equal(predictions["split"], present[name]))


def _numbers(column: pa.ChunkedArray) -> Floats:
    """A column as float64."""
    return to_numpy(column).astype(np.float64)
