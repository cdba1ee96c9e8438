"""Stage `plot`: the pictures of a run."""

from collections.abc import Mapping

from tasks.caching.stage import Desk, View, stage
from tasks.caching.storage.reference import Outputs, Reference
from tasks.learning.config.experiment import PARTS
from tasks.learning.reporting.plots import PLOTS


class LossName(View):
    """The loss, for the label of an axis."""

    loss: str


class PlotView(View):
    """What the pictures say beside the data."""

    name: str
    training: LossName


@stage(
    PlotView,
    inputs=("train", "validation?", "test", "untrained", "history", "predictions", "metrics"),
    outputs=tuple(PLOTS),
    # Of matplotlib's own libraries those that lay out and draw: texts, formulas, colours, files.
    libraries=("matplotlib", "numpy", "pyarrow", "pillow", "kiwisolver", "pyparsing", "cycler"),
)
def plot(view: PlotView, inputs: Mapping[str, Reference], desk: Desk) -> Outputs:
    """Draws the data, the predictions before and after training, the loss curves and the residuals."""
    from tasks.learning.data.tables import read_table
    from tasks.learning.reporting.figure_style import render
    from tasks.learning.reporting.figures import draw_data, draw_losses, draw_predictions, draw_residuals

    metrics = desk.store.read_object(inputs["metrics"])
    tables = {name: read_table(desk.store.path(file)) for name, file in inputs.items() if name != "metrics"}
    parts = {name: tables[name] for name in PARTS if name in tables}
    figures = {
        "data": draw_data(parts, view.name),
        "untrained": draw_predictions(tables["untrained"], False, view.name),
        "trained": draw_predictions(tables["predictions"], True, view.name),
        "loss": draw_losses(tables["history"], metrics, view.training.loss, view.name),
        "residuals": draw_residuals(tables["predictions"], view.name),
    }
    outputs = {}
    for name, figure in figures.items():
        for kind, content in zip(("png", "svg"), render(figure), strict=True):
            outputs[f"{name}_{kind}"] = desk.publish(f"{name}.{kind}", content)
    return outputs
