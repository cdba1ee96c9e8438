import io
import os
import subprocess
import sys
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pyarrow as pa
import pytest
from matplotlib.image import imread

from tasks.learning.losses.registry import LOSSES
from tasks.learning.reporting import figures
from tasks.learning.reporting.figure_style import render
from tasks.learning.reporting.figures import draw_data, draw_losses, draw_predictions, draw_residuals


def predictions(train=40, validation=0, test=10):
    count = train + validation + test
    x = np.linspace(0, 1, count, dtype=np.float32)
    return pa.table(
        {
            "split": ["train"] * train + ["validation"] * validation + ["test"] * test,
            "x": x,
            "y": 0.7 * x,
            "target": 0.7 * x,
            "prediction": 0.7 * x + 0.5,
            "residual": np.full(count, -0.5, np.float32),
        }
    )


def history(epochs=180, every=10, validation=False, floor=0.1):
    losses = np.linspace(1, floor, epochs)
    held_out = [loss if epoch % every == 0 else None for epoch, loss in enumerate(losses)]
    columns = {"epoch": np.arange(epochs), "train_loss": losses, "test_loss": pa.array(held_out, pa.float64())}
    return pa.table(columns | ({"validation_loss": columns["test_loss"]} if validation else {}))


FINAL = {"train": {"loss": 0.0148}, "test": {"loss": 0.0253}}


def losses(table=None, loss="l1", name="line", final=FINAL):
    return draw_losses(history() if table is None else table, final, loss, name)


def parts_of(table):
    return {"train": table[:40], "test": table[40:]}


FIGURES = {
    "data": lambda name: draw_data(parts_of(predictions()), name),
    "untrained": lambda name: draw_predictions(predictions(), False, name),
    "trained": lambda name: draw_predictions(predictions(30, 10), True, name),
    "residuals": lambda name: draw_residuals(predictions(), name),
    "loss": lambda name: losses(name=name),
}


def texts(figure):
    svg = ElementTree.fromstring(render(figure)[1])  # noqa: S314 - our own file
    return [element.text for element in svg.iter("{http://www.w3.org/2000/svg}text")]


def axes_of(figure):
    (axes,) = figure.axes
    return axes


def legend(figure):
    return [text.get_text() for text in axes_of(figure).get_legend().get_texts()]


@pytest.mark.parametrize("name", FIGURES)
def test_is_a_picture_in_both_formats(name):
    png, svg = render(FIGURES[name]("line"))
    pixels = imread(io.BytesIO(png))
    assert pixels.shape == (528, 864, 4)
    assert pixels.std() > 0.01
    assert ElementTree.fromstring(svg).tag.endswith("svg")  # noqa: S314 - our own file


@pytest.mark.parametrize("name", FIGURES)
def test_renders_the_same_bytes_again_and_again(name):
    figure = FIGURES[name]("line")
    assert render(figure) == render(figure) == render(FIGURES[name]("line"))


def test_the_users_settings_of_matplotlib_do_not_show():
    expected = render(FIGURES["loss"]("line"))
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "red", "svg.hashsalt": "other", "savefig.dpi": 30}):
        assert render(FIGURES["loss"]("line")) == expected
        assert mpl.rcParams["font.size"] == 20


def test_another_process_renders_the_same_bytes():
    code = """if True:
        import hashlib, numpy as np, pyarrow as pa
        from tasks.learning.reporting.figure_style import render
        from tasks.learning.reporting.figures import draw_residuals
        x = np.linspace(0, 1, 50, dtype=np.float32)
        table = pa.table({"split": ["train"] * 50, "x": x, "residual": x})
        print([hashlib.sha256(data).hexdigest() for data in render(draw_residuals(table, "line"))])"""
    found = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=True, env=os.environ | {"PYTHONHASHSEED": seed}
        ).stdout
        for seed in "12"
    }
    assert len(found) == 1


@pytest.mark.parametrize("name", FIGURES)
def test_text_of_the_user_is_shown_as_it_is(name):
    assert r"a $x^2$ & <b> \frac" in texts(FIGURES[name](r"a $x^2$ & <b> \frac"))


HOSTILE = [
    r"$\frac{$ \begin{document} \input{/etc/passwd}",
    "</text><script>alert(1)</script>",
    "]]><!-- <image href='http://example.org/x'/>",
    "{{ 7*7 }} {% raw %} {0} %(x)s ${x}",
    "# a | b \\ `c` [d](javascript:e)",
    "&lt;b&gt; &#0; \N{RIGHT-TO-LEFT OVERRIDE} \N{SNOWMAN}",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_text_of_the_user_is_nothing_but_text(text):
    def tags(name):
        svg = ElementTree.fromstring(render(FIGURES["data"](name))[1])  # noqa: S314 - our own file
        return [(element.tag, sorted(element.attrib)) for element in svg.iter()]

    assert text in texts(FIGURES["data"](text))
    assert tags(text) == tags("line")


@pytest.mark.parametrize("loss", LOSSES)
def test_the_axis_is_named_after_the_loss(loss):
    assert LOSSES[loss].LABEL in texts(losses(loss=loss))


def test_titles_say_what_is_seen():
    assert "50 rows: 40 train, 10 test" in texts(FIGURES["data"]("line"))
    assert "Before training, predictions miss by 0.5 on average" in texts(FIGURES["untrained"]("line"))
    assert "After training, predictions miss by 0.5 on average" in texts(FIGURES["trained"]("line"))
    assert "No prediction misses by more than 0.5" in texts(FIGURES["residuals"]("line"))
    assert "Loss with the final weights: train 0.0148, test 0.0253" in texts(FIGURES["loss"]("line"))
    endless = FINAL | {"test": {"loss": None}}
    assert "Loss with the final weights: train 0.0148, test not finite" in texts(losses(final=endless))


def test_legends_name_every_part():
    assert legend(draw_predictions(predictions(30, 10), True, "line")) == ["train", "validation", "test", "predicted"]
    assert legend(draw_data(parts_of(predictions()), "line")) == ["train", "test"]
    assert legend(losses(history(validation=True))) == [
        "train, before each update",
        "validation, after it",
        "test, after it",
    ]


def test_parts_differ_by_more_than_colour():
    points = axes_of(draw_predictions(predictions(30, 10), True, "line")).lines
    curves = axes_of(losses(history(validation=True))).lines
    assert len({line.get_marker() for line in points}) == len({line.get_color() for line in points}) == 4
    assert len({line.get_linestyle() for line in curves}) == len({line.get_color() for line in curves}) == 3


def test_evaluations_are_marked():
    train, test = axes_of(losses()).lines
    assert train.get_marker() == "None"
    assert test.get_marker() == "s"
    assert test.get_xdata().tolist() == list(range(0, 180, 10))


def test_a_single_epoch_is_visible():
    axes = axes_of(losses(history(epochs=1)))
    assert axes.lines[0].get_marker() == "o"
    assert axes.get_xticks() == [0]


@pytest.mark.parametrize(("floor", "scale"), [(0.1, "linear"), (0.011, "linear"), (0.009, "log"), (0.0, "symlog")])
def test_the_scale_is_logarithmic_only_for_a_wide_span(floor, scale):
    assert axes_of(losses(history(floor=floor), "mse")).get_yscale() == scale


@pytest.mark.parametrize(
    ("floor", "is_logarithmic"),
    [(1 / 60, True), (1 / 19, False), (1 / 21, True), (0.0, False)],
    ids=["a sixtieth", "a nineteenth", "a 21st", "nothing but 0"],
)
def test_the_scale_is_logarithmic_where_a_curve_would_lie_on_the_bottom(floor, is_logarithmic):
    fallen = [1.0, *[floor] * 179]
    columns = {"epoch": np.arange(180), "train_loss": fallen, "test_loss": fallen}
    assert (axes_of(losses(pa.table(columns))).get_yscale() != "linear") == is_logarithmic


def test_losses_of_0_stand_at_the_bottom_of_a_logarithmic_axis():
    fallen = np.where(np.arange(180) < 100, 0.9 ** np.arange(180), 0.0)
    axes = axes_of(losses(pa.table({"epoch": np.arange(180), "train_loss": fallen, "test_loss": fallen})))
    assert axes.get_yscale() == "symlog"
    assert axes.get_ylim()[0] == 0
    places = axes.transData.transform([(0, 0.9**99), (0, 0.9**50)])[:, 1] - axes.bbox.y0
    assert 0.1 * axes.bbox.height < places[0] < places[1] < 0.8 * axes.bbox.height
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0", "0.0001", "0.001", "0.01", "0.1", "1"]


def test_a_crowd_is_thinned_evenly_and_says_so():
    figure = draw_predictions(predictions(60_000, 20_000, 20_000), True, "line")
    drawn = [len(line.get_xdata()) for line in axes_of(figure).lines]
    assert drawn == [1200, 400, 400, 2000]
    assert "one row in 50 is drawn" in texts(figure)
    assert legend(figure) == ["train", "validation", "test", "predicted"]


def test_as_many_as_fit_are_all_drawn():
    figure = draw_residuals(predictions(figures.MOST_POINTS - 1, 0, 1), "line")
    assert sum(len(line.get_xdata()) for line in axes_of(figure).lines[1:]) == figures.MOST_POINTS
    assert not any("is drawn" in text for text in texts(figure))


def test_a_long_history_is_thinned_but_keeps_its_end():
    train, test = axes_of(losses(history(epochs=10_000, every=1))).lines
    assert figures.MOST_POINTS / 2 < len(train.get_xdata()) <= figures.MOST_POINTS + 1
    assert len(set(np.diff(train.get_xdata())[:-1])) == 1
    assert train.get_xdata()[-1] == test.get_xdata()[-1] == 9_999


def test_the_first_epochs_of_a_very_long_history_show():
    axes = axes_of(losses(history(epochs=200_001)))
    train, test = axes.lines
    assert axes.get_xscale() == "symlog"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "10", "100", "1,000", "10,000", "100,000"]
    assert len(train.get_xdata()) <= figures.MOST_POINTS + 1
    assert train.get_xdata()[:100].tolist() == list(range(100))
    assert test.get_xdata()[:20].tolist() == list(range(0, 200, 10))
    assert train.get_xdata()[-1] == test.get_xdata()[-1] == 200_000
    ends = axes.transData.transform([(0, 0.5), (200, 0.5)])[:, 0]
    assert np.diff(ends) > 0.3 * axes.bbox.width


def test_does_not_load_pyplot():
    code = """if True:
        import sys, numpy as np, pyarrow as pa
        from tasks.learning.reporting.figure_style import render
        from tasks.learning.reporting.figures import draw_residuals
        x = np.linspace(0, 1, 50, dtype=np.float32)
        render(draw_residuals(pa.table({"split": ["train"] * 50, "x": x, "residual": x}), "line"))
        sys.exit("matplotlib.pyplot" in sys.modules)"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
