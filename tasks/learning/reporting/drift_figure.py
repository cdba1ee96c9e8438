"""The figure of an experiment's history: its metrics over the runs, each with the band that the runs before make.

One panel a metric, one below the other, so that a run stands in the same place in all of them. Equal values give equal
bytes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from tasks.learning.evaluation.drift import FLOOR, Band
from tasks.learning.reporting.figure_style import BLUE, QUIET, VERMILION, styled, write_heading
from tasks.learning.reporting.ticks import shorten_ticks

Floats = npt.NDArray[np.float64]

#: Inches: of the figure, around the panels, and of a panel with what is above it.
_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 7.2, 0.83, 0.36, 0.98, 0.56
_PANEL, _GAP = 0.95, 0.34

#: Labels along the runs; more than these run into each other.
_MOST_LABELS = 6

#: A value outside the band is drawn where it is up to so many times the height of all others away from them; further
#: out it stands at the edge, as a triangle, so that it does not press them flat.
_FAR = 2

#: Points that a value written beside its mark takes up, the mark included.
_WRITTEN = 48

_BAND = "#cfe3f1"


class Track(NamedTuple):
    """A metric over the runs, oldest first.

    Attributes:
        label: its name for people.
        values: in each run; None where it has none.
        bands: of the runs before each one; None where they are too few.
        outside: whether the run's value is outside its band.
    """

    label: str
    values: Sequence[float | None]
    bands: Sequence[Band | None]
    outside: Sequence[bool]


def draw_drift(tracks: Sequence[Track], labels: Sequence[str], name: str, title: str) -> Figure:
    """The metrics of an experiment over its runs.

    Args:
        tracks: a panel each, with values for at least one run.
        labels: of the runs, such as their dates; some are left out if they are many.
        name: of the experiment.
        title: what is to be seen.
    """
    height = _TOP + len(tracks) * (_PANEL + _GAP) - _GAP + _BOTTOM
    with styled():
        figure = Figure(figsize=(_WIDTH, height), dpi=120)
        write_heading(figure, name, title, left=_LEFT / _WIDTH)
        for place, track in enumerate(tracks):
            top = _TOP + place * (_PANEL + _GAP)
            box = (_LEFT / _WIDTH, 1 - (top + _PANEL) / height, 1 - (_LEFT + _RIGHT) / _WIDTH, _PANEL / height)
            _draw_track(figure.add_axes(box), track)
        _label_runs(figure.axes[-1], labels)
        _legend(figure, height)
    return figure


def _draw_track(axes: Axes, track: Track) -> None:
    """One panel: band, values, and what is outside."""
    values, outside = _numbers(track.values), np.array(track.outside, bool)
    low = _numbers([band.low if band else None for band in track.bands])
    high = _numbers([band.high if band else None for band in track.bands])
    bottom, top = _limits(np.concatenate([values[~outside], low, high]), values[outside])
    axes.set_xlim(-0.6, len(values) - 0.4)
    axes.set_xticks([])
    axes.set_ylim(bottom, top)
    axes.yaxis.set_major_locator(MaxNLocator(2))
    title = track.label + shorten_ticks(axes.yaxis)
    axes.set_title(title, loc="left", y=1, pad=6, fontsize=9)  # without y, matplotlib measures everything first
    axes.tick_params(axis="y", labelsize=8.5)
    axes.grid(visible=False, axis="x")
    runs = np.arange(len(values))
    sides = np.ravel([runs - 0.5, runs + 0.5], order="F")
    axes.fill_between(sides, low.repeat(2), high.repeat(2), color=_BAND, linewidth=0)
    drawn = np.clip(values, bottom, top)
    size = np.clip(40 / len(values), 2.2, 4.5)
    axes.plot(runs, drawn, color=BLUE, linewidth=1.2, marker="o", markersize=size, clip_on=False)
    marked = np.flatnonzero(outside).tolist()
    shown = np.where(np.isnan(drawn), bottom, drawn)
    for run in marked:
        _mark(axes, run, values[run], shown[run])
    for run in _written(marked, len(values)):
        text = "no value" if np.isnan(values[run]) else f"{values[run]:.3g}"
        _write_beside(axes, run, shown[run], text, _is_late(run, len(values)))


def _limits(inside: Floats, outside: Floats) -> tuple[float, float]:
    """The ends of an axis that shows what is inside, and of what is outside as much as is not far."""
    known, out = inside[np.isfinite(inside)], outside[np.isfinite(outside)]
    known = known if len(known) else np.append(out, 0.0)[:1]
    low, high = known.min(), known.max()
    least = 2 * FLOOR * np.abs(known).max() or 1.0
    if high - low < least:
        low, high = (low + high - least) / 2, (low + high + least) / 2
    far = _FAR * (high - low)
    low, high = max(min([low, *out]), low - far), min(max([high, *out]), high + far)
    margin = 0.08 * (high - low)
    return low - margin, high + margin


def _written(marked: list[int], runs: int) -> list[int]:
    """Of the marked runs those whose values are written: the newest, and before it as many as leave each other room."""
    room = _WRITTEN * runs / (72 * (_WIDTH - _LEFT - _RIGHT))
    written: list[int] = []
    for run in reversed(marked):
        faces = bool(written) and _is_late(run, runs) != _is_late(written[-1], runs)
        if not written or written[-1] - run >= room * (2 if faces else 1):
            written.append(run)
    return written


def _is_late(run: int, runs: int) -> bool:
    """Whether a run stands in the right half, where its value is written to its left."""
    return run > (runs - 1) / 2


def _mark(axes: Axes, run: int, value: float, drawn: float) -> None:
    """Marks a value outside its band; with a triangle at the edge if it is further out than drawn."""
    marker = "X" if np.isnan(value) else "D" if drawn == value else "^" if drawn < value else "v"
    axes.plot(run, drawn, marker=marker, markersize=6.5, color=VERMILION, clip_on=False, zorder=4)


def _write_beside(axes: Axes, run: int, drawn: float, text: str, is_late: bool) -> None:
    """Writes a value beside its mark."""
    bottom, top = axes.get_ylim()
    up, anchor = (3, "bottom") if drawn == bottom else (-1, "top") if drawn == top else (0, "center")
    axes.annotate(
        text,
        (run, drawn),
        (-7 if is_late else 7, up),
        textcoords="offset points",
        ha="right" if is_late else "left",
        va=anchor,
        fontsize=8,
        color=VERMILION,
        zorder=2.4,  # over the line of the values, under that of the axis
        bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.8},
    )


def _label_runs(axes: Axes, labels: Sequence[str]) -> None:
    """Labels evenly spaced runs, the newest among them."""
    stride = -(-len(labels) // _MOST_LABELS)
    shown = range((len(labels) - 1) % stride, len(labels), stride)
    axes.set_xticks(shown, [labels[run] for run in shown], fontsize=8)


def _legend(figure: Figure, height: float) -> None:
    """What the marks mean, in one row between title and panels."""
    marks = [
        Line2D([], [], color=BLUE, linewidth=1.2, marker="o", markersize=4.5, label="on the test rows"),
        Patch(color=_BAND, label="band of the runs before"),
        Line2D([], [], color=VERMILION, linestyle="none", marker="D", markersize=6.5, label="outside"),
    ]
    figure.legend(
        handles=marks,
        loc="upper left",
        bbox_to_anchor=(_LEFT / _WIDTH - 0.012, 1 - 0.53 / height),
        ncols=3,
        fontsize=9,
        handletextpad=0.5,
        columnspacing=1.6,
        borderpad=0,
        labelcolor=QUIET,
    )


def _numbers(values: Sequence[float | None]) -> Floats:
    """Values as float64, NaN where there is none."""
    return np.array([np.nan if value is None else value for value in values], np.float64)
