import io
from itertools import pairwise
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread

from tasks.learning.evaluation.drift import LARGEST, band_after, is_outside
from tasks.learning.reporting.drift_figure import Track, draw_drift
from tasks.learning.reporting.figure_style import VERMILION, render, styled

LABELS = ("loss", "MAE", "RMSE", "R²", "largest error")
LONGEST_TITLE = "The newest run drifts: loss, MAE, RMSE, R², largest error"


def track(values, label="loss"):
    """Values with the bands that they make."""
    befores = [values[:run] for run in range(len(values))]
    bands = [band_after(before) for before in befores]
    return Track(label, values, bands, [is_outside(*both) for both in zip(values, befores, strict=True)])


def nights(count, bad=()):
    """Values that stay in their band, but for those of the bad nights."""
    calm = (1.0, 1.03, 0.97, 1.02, 0.98)
    return [calm[run % 5] * (2 if run in bad else 1) for run in range(count)]


def figure_of(*tracks, name="nightly", title=LONGEST_TITLE):
    runs = len(tracks[0].values)
    return draw_drift(tracks, [f"2026-11-{run % 30 + 1:02d}\n02:00" for run in range(runs)], name, title)


def panels(count, bad=()):
    return figure_of(*(track(nights(count, bad), label) for label in LABELS))


def texts(figure: Figure):
    svg = ElementTree.fromstring(render(figure)[1])  # noqa: S314 - our own file
    return [element.text for element in svg.iter("{http://www.w3.org/2000/svg}text")]


def marks(axes):
    """Where what is outside is marked, and with what."""
    lines = [line for line in axes.lines if line.get_color() == VERMILION]
    return {int(line.get_xdata()[0]): (line.get_ydata()[0], line.get_marker()) for line in lines}


@pytest.mark.parametrize("runs", [1, 5, 8, 60])
def test_is_a_picture_in_both_formats(runs):
    png, svg = render(panels(runs))
    pixels = imread(io.BytesIO(png))
    assert pixels.shape[1:] == (864, 4)
    assert pixels.std() > 0.01
    assert ElementTree.fromstring(svg).tag.endswith("svg")  # noqa: S314 - our own file


def test_renders_the_same_bytes_whatever_the_users_settings_are():
    expected = render(panels(12, bad=[9]))
    assert render(panels(12, bad=[9])) == expected
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "red", "svg.hashsalt": "other", "savefig.dpi": 30}):
        assert render(panels(12, bad=[9])) == expected


def test_each_metric_has_a_panel_and_all_panels_the_same_runs():
    figure = figure_of(*(track([None] * place + nights(12 - place), label) for place, label in enumerate(LABELS)))
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(LABELS)
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    assert len({(axes.get_position().x0, axes.get_position().width) for axes in figure.axes}) == 1


@pytest.mark.parametrize("runs", [1, 2, 7, 8, 9, 30, 60, 365])
def test_labels_are_few_and_do_not_touch_and_the_newest_run_has_one(runs):
    figure = panels(runs)
    with styled():
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    labels = figure.axes[-1].get_xticklabels()
    boxes = [label.get_window_extent(canvas.get_renderer()) for label in labels]
    assert all(left.x1 + 4 < right.x0 for left, right in pairwise(boxes))
    assert boxes[-1].x1 < figure.bbox.x1
    assert figure.axes[-1].get_xticks()[-1] == runs - 1
    assert min(runs, 4) <= len(labels) <= 6


@pytest.mark.parametrize("name", ["nightly", "n" * 64])
def test_the_heading_fits(name):
    figure = figure_of(track(nights(3)), name=name)
    with styled():
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    assert all(text.get_window_extent(canvas.get_renderer()).x1 < figure.bbox.x1 for text in figure.texts)


def test_the_band_is_shaded_where_there_is_one():
    (axes,) = figure_of(track(nights(12))).axes
    (band,) = axes.collections
    low, high = band.get_datalim(axes.transData).intervalx
    assert (low, high) == (4.5, 11.5)


def test_a_run_without_a_band_is_a_point():
    (axes,) = figure_of(track([0.5])).axes
    assert axes.lines[0].get_xydata().tolist() == [[0, 0.5]]
    assert axes.lines[0].get_marker() == "o"


def test_what_is_outside_is_marked_and_written():
    figure = figure_of(track([*nights(10), 1.123, *nights(5)]))
    assert marks(figure.axes[0]) == {10: (1.123, "D")}
    assert "1.12" in texts(figure)


@pytest.mark.parametrize(
    ("runs", "bad", "written"),
    [
        (12, [9], 1),
        (12, [8, 9], 1),  # which stand side by side
        (12, [8, 10], 2),
        (360, range(9, 360, 12), 7),
    ],
)
def test_values_are_written_where_there_is_room_for_them(runs, bad, written):
    values = [float(value) for value in nights(runs, bad)]
    (axes,) = figure_of(track(values)).axes
    assert set(bad) <= marks(axes).keys()
    assert len(axes.texts) == written
    assert max(text.xy[0] for text in axes.texts) == max(marks(axes))


@pytest.mark.parametrize(("value", "marker", "end"), [(1e6, "^", 1), (-1e6, "v", 0)])
def test_what_is_far_out_stands_at_the_edge_and_does_not_press_the_others_flat(value, marker, end):
    calm = nights(10)
    figure = figure_of(track([*calm, value, *calm]))
    (axes,) = figure.axes
    limits = axes.get_ylim()
    assert marks(axes) == {10: (limits[end], marker)}
    assert f"{value:.3g}" in texts(figure)
    band = band_after(calm)
    assert limits[1] - limits[0] < 5 * (band.high - band.low)


def test_a_missing_value_is_a_gap_and_is_marked_only_where_it_is_missed():
    figure = figure_of(track([None, *nights(30), None, 1.0]))
    (axes,) = figure.axes
    assert np.flatnonzero(np.isnan(axes.lines[0].get_ydata())).tolist() == [0, 31]
    assert marks(axes) == {31: (axes.get_ylim()[0], "X")}
    assert "no value" in texts(figure)


def test_equal_nights_are_distinguished_from_nothing_by_the_ticks():
    figure = figure_of(track([0.0003967] * 12))
    with styled():
        FigureCanvasAgg(figure).draw()
    ticks = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(ticks) == len(set(ticks)) >= 2
    assert figure.axes[0].get_title(loc="left") == "loss, ×10⁻⁴"
    assert all(float(tick) == pytest.approx(3.967, rel=5e-3) for tick in ticks)


def test_text_of_the_user_is_shown_as_it_is():
    assert r"a $x^2$ & <b> \frac" in texts(figure_of(track(nights(2)), name=r"a $x^2$ & <b> \frac"))


EXTREMES = {
    "nothing at all": [None] * 8,
    "zeros": [0.0] * 8,
    "zeros, then the smallest": [0.0] * 8 + [5e-324],
    "the smallest": [5e-324] * 8,
    "the largest": [LARGEST] * 8,
    "both ends": [LARGEST, -LARGEST] * 5,
    "one, then the largest": [1.0] * 8 + [LARGEST],
    "tiny, then the largest below 0": [1e-9] * 8 + [-LARGEST],
}


@pytest.mark.parametrize("values", EXTREMES.values(), ids=EXTREMES)
def test_any_value_can_be_drawn(values):
    for runs in (1, len(values)):
        figure = figure_of(track(values[:runs]))
        render(figure)
        bottom, top = figure.axes[0].get_ylim()
        drawn = [y for line in figure.axes[0].lines for y in line.get_ydata() if not np.isnan(y)]
        assert all(bottom <= y <= top for y in drawn)
