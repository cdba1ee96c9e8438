"""The commands on experiments: those that ship with the project, and new ones."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flows.cli.arguments import AsJson
from flows.cli.terminal.output import print_json, print_line
from flows.config.experiments import load_experiment, preset_names


def init(
    table: Annotated[Path, Parameter(help="The table: a .csv file with a header line, or a .parquet file.")],
    /,
    *,
    target: Annotated[str, Parameter(help="The column to predict.")],
    output: Annotated[
        Path | None, Parameter(help="The file to write; TABLE.toml in the working directory when not given.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write an experiment for a table of yours: a file with comments, to be read and changed."""
    from flows.config.new_experiment import write_new_experiment

    new = write_new_experiment(table, target, output)
    if as_json:
        print_json({**vars(new), "file": str(new.file)})
        return
    print_line(f"{new.file} predicts {new.target} by {', '.join(new.features)}.")
    for name, what in new.excluded.items():
        print_line(f"Left out: {name}, which holds {what}.")
    if new.gaps:
        print_line(f"Rows without a value are left out: of {', '.join(new.gaps)}.")
    print_line(f"Train it: workflow train {new.file} --verify")


def presets(*, as_json: AsJson = False) -> None:
    """List the experiments that ship with the project."""
    experiments = {name: load_experiment(name) for name in preset_names()}
    if as_json:
        print_json({name: experiment.model_dump(mode="json") for name, experiment in experiments.items()})
    else:
        from flows.cli.terminal.console import print_presets

        print_presets(experiments)
