"""The style that all figures share, and how they are rendered.

Drawn with matplotlib's own objects and without pyplot, which costs more to import than all figures of a run to draw.
Colours are Okabe and Ito's, which colour-blind people can distinguish.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

BLUE, GREEN, ORANGE, VERMILION = "#0072B2", "#009E73", "#E69F00", "#D55E00"
INK, QUIET, RULE = "#1a1a1a", "#5f6368", "#e3e5e8"

_STYLE: dict[Any, Any] = {
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib
    "font.size": 10,
    "text.color": INK,
    "text.parse_math": False,  # names are the user's: a $ in one is a $
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text, which can be searched and read aloud, and takes half the bytes
    "svg.hashsalt": "pytorch-workflow",  # ids are random otherwise
}


@contextmanager
def styled() -> Iterator[None]:
    """Matplotlib's defaults and the style above, whatever matplotlibrc the user has."""
    settings = {**dict.copy(mpl.rcParamsDefault), **_STYLE}
    del settings["backend"]  # setting it would import pyplot
    with mpl.rc_context(settings):
        yield


def write_heading(figure: Figure, name: str, title: str, left: float) -> None:
    """Writes what a figure is of, and below it in bold what is to be seen, from `left` of its width on.

    What is too long is written smaller.
    """
    height = figure.get_figheight()
    figure.text(left, 1 - 0.198 / height, name, color=QUIET, fontsize=_fitting(9, 46, name), va="center")
    figure.text(left, 1 - 0.44 / height, title, fontsize=_fitting(11.5, 57, title), fontweight="bold", va="center")


def _fitting(size: float, characters: int, text: str) -> float:
    """The size in points at which a text fits, if so many of its characters do at `size`."""
    return size * min(1, characters / max(1, len(text)))


def render(figure: Figure) -> tuple[bytes, bytes]:
    """A figure as PNG and as SVG; the same bytes whenever and wherever it is rendered by the same matplotlib."""
    return render_png(figure), render_svg(figure)


def render_png(figure: Figure) -> bytes:
    """A figure as PNG; likewise."""
    png = io.BytesIO()
    with styled():
        figure.savefig(png, format="png", metadata={"Software": None})
    return png.getvalue()


def render_svg(figure: Figure) -> bytes:
    """A figure as SVG; likewise."""
    svg = io.BytesIO()
    with styled():
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    return svg.getvalue()
