"""Stage `plot`: the pictures of a run."""

from collections.abc import Mapping

from tasks.caching.stage import StageConfig, StageContext, stage
from tasks.caching.storage.reference import Outputs, Reference
from tasks.learning.config.split import PARTS
from tasks.learning.reporting.plots import PLOTS


class LossName(StageConfig):
    """The loss, for the label of an axis."""

    loss: str


class PlotConfig(StageConfig):
    """What the pictures say beside the data."""

    name: str
    training: LossName


@stage(
    PlotConfig,
    inputs=("train", "validation?", "test", "untrained", "history", "predictions", "metrics"),
    outputs=tuple(PLOTS),
    # Of matplotlib's own libraries those that lay out and draw: texts, formulas, colours, files.
    libraries=("matplotlib", "numpy", "pyarrow", "pillow", "kiwisolver", "pyparsing", "cycler"),
    run_files={name: f"plots/{file}" for name, file in PLOTS.items()},
)
def plot(config: PlotConfig, inputs: Mapping[str, Reference], context: StageContext) -> Outputs:
    """Draws the data, the predictions before and after training, the loss curves and the residuals."""
    from tasks.learning.data.schema import columns_of
    from tasks.learning.data.tables import read_table
    from tasks.learning.reporting.figure_style import render
    from tasks.learning.reporting.figures import draw_data, draw_losses, draw_predictions, draw_residuals

    metrics = context.store.read_object(inputs["metrics"])
    tables = {name: read_table(context.store.path(file)) for name, file in inputs.items() if name != "metrics"}
    parts = {name: tables[name] for name in PARTS if name in tables}
    columns = columns_of(parts["train"].column_names)
    figures = {
        "data": draw_data(parts, config.name, columns),
        "untrained": draw_predictions(tables["untrained"], False, config.name, columns),
        "trained": draw_predictions(tables["predictions"], True, config.name, columns),
        "loss": draw_losses(tables["history"], metrics, config.training.loss, config.name),
        "residuals": draw_residuals(tables["predictions"], config.name, columns),
    }
    outputs = {}
    for name, figure in figures.items():
        for kind, content in zip(("png", "svg"), render(figure), strict=True):
            outputs[f"{name}_{kind}"] = context.publish(f"{name}.{kind}", content)
    return outputs
