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
from matplotlib.ticker import MaxNLocator, NullFormatter

from tasks.learning.data.schema import LINE, ROW, Columns
from tasks.learning.data.tables import to_numpy
from tasks.learning.losses.registry import LOSSES
from tasks.learning.reporting.figure_style import BLUE, GREEN, INK, ORANGE, QUIET, styled, write_heading
from tasks.learning.reporting.loss_scale import is_logarithmic
from tasks.learning.reporting.ticks import mark_powers, shorten_ticks

Floats = npt.NDArray[np.float64]

#: Points of one figure; more than these hide each other and make an SVG slow to open.
MOST_POINTS = 2_000

#: More epochs than these are drawn on a logarithmic axis, on which the first fall of the losses shows; up to
#: LINEAR_UNTIL it is linear, since it begins at 0.
LOGARITHMIC_EPOCHS, LINEAR_UNTIL = 10_000, 10

#: Of a number of epochs, as 1,000,000 has: there is more room below the axis.
_EPOCH_CHARACTERS = 9

#: Where the axes lie in the figure: left, bottom, width and height. To the right there is room for half a tick's label.
_AXES = (0.125, 0.125, 0.835, 0.68)

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


def draw_data(parts: Mapping[str, pa.Table], name: str, columns: Columns = LINE) -> Figure:
    """The rows of the dataset by part: the target over the feature, or over the row if there are several features.

    Args:
        parts: the rows of each part, by its name.
        name: of the experiment.
        columns: the features and the target.
    """
    total = sum(rows.num_rows for rows in parts.values())
    shares = ", ".join(f"{rows.num_rows:,} {part}" for part, rows in parts.items())
    x = _only(columns) or ROW
    with styled():
        figure, axes = _canvas(name, f"{total:,} rows: {shares}", x, columns.target)
        for part, rows in parts.items():
            _scatter(axes, part, rows, x, columns.target, total)
        _note_thinning(figure, total)
        _finish(axes)
    return figure


def draw_predictions(predictions: pa.Table, trained: bool, name: str, columns: Columns = LINE) -> Figure:
    """The predictions of the trained or the untrained model: over the data, or against the targets.

    Args:
        predictions: columns split, features, target and prediction.
        trained: whether the model was.
        name: of the experiment.
        columns: the features, and the name of the target. Several features cannot be drawn: then each prediction
            is drawn over its target, and on the diagonal both are the same.
    """
    total = predictions.num_rows
    error = np.mean(np.abs(_numbers(predictions["target"]) - _numbers(predictions["prediction"])))
    title = f"{'After' if trained else 'Before'} training, predictions miss by {error:.3g} on average"
    only = _only(columns)
    with styled():
        figure, axes = _canvas(name, title, only or columns.target, columns.target if only else "prediction")
        for part, rows in _by_part(predictions):
            _scatter(axes, part, rows, only or "target", "target" if only else "prediction", total)
        if only:
            style: dict[str, Any] = {"marker": "x", "color": INK, "markersize": 0.8 * _marker_size(total)}
            axes.plot(*_points(predictions, total, only, "prediction"), linestyle="none", label="predicted", **style)
        else:
            targets = _numbers(predictions["target"])
            ends = [targets.min(), targets.max()]
            axes.plot(ends, ends, color=QUIET, linewidth=1, linestyle="--", label="equal")
        _note_thinning(figure, total)
        _finish(axes)
    return figure


def draw_residuals(predictions: pa.Table, name: str, columns: Columns = LINE) -> Figure:
    """What the trained model's predictions leave of the targets: over the feature, or over the predictions.

    Args:
        predictions: columns split, features, prediction and residual.
        name: of the experiment.
        columns: the features; with several, the residuals are drawn over the predictions.
    """
    total = predictions.num_rows
    largest = np.max(np.abs(_numbers(predictions["residual"])))
    x = _only(columns) or "prediction"
    with styled():
        title = f"No prediction misses by more than {largest:.3g}"
        figure, axes = _canvas(name, title, x, "residual (target − prediction)")
        axes.axhline(0, color=QUIET, linewidth=1)
        for part, rows in _by_part(predictions):
            _scatter(axes, part, rows, x, "residual", total)
        _note_thinning(figure, total)
        _finish(axes)
    return figure


def draw_losses(history: pa.Table, metrics: Mapping[str, Mapping[str, Any]], loss: str, name: str) -> Figure:
    """The losses over the epochs, with those of the final weights in the title.

    The curves do not end at those: the one of the training rows is taken before each update, and with patience the
    final weights are those of an earlier epoch.

    Args:
        history: columns epoch, train_loss (before each update, the mean over the batches), validation_loss (if there is
            such a part) and test_loss (both after the epoch's updates).
        metrics: of the final weights, by part; what stands under "loss" is None where it is not finite.
        loss: the name of the one that was minimised.
        name: of the experiment.
    """
    curves = {part: _curve(history, part) for part in _LOOKS if f"{part}_loss" in history.column_names}
    final = ", ".join(f"{part} {_loss_text(metrics[part]['loss'])}" for part in ("train", "test"))
    with styled():
        figure, axes = _canvas(name, f"Loss with the final weights: {final}", "epoch", LOSSES[loss].LABEL)
        for part, (epochs, losses) in curves.items():
            _draw_curve(axes, part, epochs, losses)
        _scale_epochs(axes, history.num_rows)
        _scale_losses(axes, np.concatenate([losses for _, losses in curves.values()]))
        _legend(axes)
    return figure


def _loss_text(loss: float | None) -> str:
    return "not finite" if loss is None else f"{loss:.3g}"


def _canvas(name: str, title: str, x_label: str, y_label: str) -> tuple[Figure, Axes]:
    """An empty figure. Its layout is fixed, which takes none of the time that fitting one takes."""
    figure = Figure(figsize=(7.2, 4.4), dpi=120)
    axes = figure.add_axes(_AXES)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.yaxis.set_label_coords(-0.113, 0.5)
    write_heading(figure, name, title, left=_AXES[0])
    return figure, axes


def _finish(axes: Axes) -> None:
    """What can only be written once everything is drawn: the ticks, and the legend."""
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_label_text(axis.get_label_text() + shorten_ticks(axis))
    _legend(axes)


def _only(columns: Columns) -> str | None:
    """The feature over which values are drawn, if there is only one."""
    return columns.features[0] if len(columns.features) == 1 else None


def _scatter(axes: Axes, part: str, rows: pa.Table, x: str, y: str, of_all: int) -> None:
    """The points (x, y) of a part of `of_all` rows."""
    look = _LOOKS[part]
    style: dict[str, Any] = {
        "marker": look.marker,
        "color": look.color,
        "markersize": _marker_size(of_all),
        "markeredgewidth": 0,
    }
    axes.plot(*_points(rows, of_all, x, y), linestyle="none", label=part, **style)


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
        markevery=1 / _MOST_MARKERS if len(epochs) > _MOST_MARKERS else None,  # of the figure's diagonal
        label=f"{part}, {'before each update' if part == 'train' else 'after it'}",
        clip_on=False,  # a loss of 0 lies on the edge
    )


def _scale_epochs(axes: Axes, epochs: int) -> None:
    """The axis of so many epochs: linear, or logarithmic for a long training."""
    if epochs == 1:
        axes.set_xticks([0])
    elif epochs > LOGARITHMIC_EPOCHS:
        axes.set_xscale("symlog", linthresh=LINEAR_UNTIL)
        mark_powers(axes.xaxis, LINEAR_UNTIL, epochs, _EPOCH_CHARACTERS)
        axes.set_xlabel("epoch (logarithmic axis)")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        shorten_ticks(axes.xaxis)


def _scale_losses(axes: Axes, losses: Floats) -> None:
    """The loss axis: from 0, or logarithmic where that would press most of a curve onto the bottom.

    A logarithmic one is linear below the smallest loss if there are losses of 0.
    """
    if not is_logarithmic(losses.tolist()):
        axes.set_ylim(bottom=0)
        axes.set_ylabel(axes.get_ylabel() + shorten_ticks(axes.yaxis))
        return
    smallest = losses[losses > 0].min()
    if losses.min() > 0:
        axes.set_yscale("log")
    else:
        axes.set_yscale("symlog", linthresh=smallest)
        axes.set_ylim(bottom=0)
    mark_powers(axes.yaxis, max(smallest, axes.get_ylim()[0]), axes.get_ylim()[1])
    axes.yaxis.set_minor_formatter(NullFormatter())


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
    """Epochs and losses where the loss of a part is known, thinned as its axis asks, the last one kept."""
    known = history.filter(history[f"{part}_loss"].is_valid())
    rows = known.num_rows
    if history.num_rows > LOGARITHMIC_EPOCHS:
        drawn = np.unique(np.geomspace(1, rows, MOST_POINTS).round().astype(np.int64)) - 1
    else:
        drawn = np.union1d(np.arange(0, rows, _stride(rows)), [rows - 1])
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
