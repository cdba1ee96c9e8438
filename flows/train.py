"""Flow `train`: from nothing to a trained, evaluated, plotted and saved model.

This is the file to read first. Each line of `pipeline` runs one stage, or reuses what it made before; each stage is a
module of that name in tasks/. `workflow plan` walks these very lines to say what would run, without running it.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

from flows.errors import InputError
from tasks.caching.stage import Run, stages
from tasks.evaluate import evaluate
from tasks.generate import generate
from tasks.ingest import ingest
from tasks.learning.config.experiment import Experiment
from tasks.plot import plot
from tasks.save import save
from tasks.split import split
from tasks.train import train


def pipeline(run: Run) -> Mapping[str, Any]:
    """Generate or ingest ──► split ──► train ──► evaluate ──► plot ──► save."""
    dataset = run(generate) or run(ingest)
    parts = run(split, dataset)
    fitted = run(train, parts)
    scores = run(evaluate, parts, fitted)
    figures = run(plot, parts, fitted, scores)
    return run(save, dataset, parts, fitted, scores, figures)


#: The stages by name, in order: those of the wiring above, so that a line there is all that it takes to add one.
STAGES: tuple[str, ...] = tuple(stage.name for stage in stages(pipeline))

if TYPE_CHECKING:
    StageName = str
    Refreshable = str
else:
    #: One of the stages: what the command line and the form in the UI offer.
    StageName = Literal[STAGES]

    #: What can be made to run although it is cached.
    Refreshable = Literal[(*STAGES, "all")]


def stages_of(settings: BaseModel) -> tuple[str, ...]:
    """The names of the stages that take part in a run of an experiment, in order."""
    return tuple(stage.name for stage in stages(pipeline) if stage.takes_part_with(settings))


def require_reached(experiment: Experiment, refresh: Iterable[str], until: str | None) -> None:
    """Checks that a run has the stage that it is to end with, and gets as far as those that it is to run again.

    Raises:
        InputError: it has not, or would end before one of them.
    """
    taking_part = stages_of(experiment)
    named = {"until": [until] if until else [], "refresh": [stage for stage in refresh if stage in STAGES]}
    for option, wanted in named.items():
        if absent := [stage for stage in wanted if stage not in taking_part]:
            raise InputError(
                f"{option} names {absent[0]}, which takes no part in a run with data.kind {experiment.data.kind}: "
                f"its stages are {', '.join(taking_part)}"
            )
    reached = taking_part if until is None else taking_part[: taking_part.index(until) + 1]
    if missed := [stage for stage in named["refresh"] if stage not in reached]:
        raise InputError(f"refresh names {missed[0]}, which is not reached: until ends the run after {until}")


def require_run(until: str | None, wanted: Mapping[str, bool]) -> None:
    """Checks that there will be a run where something is to be done with it.

    Args:
        until: the last stage to run, if not all of them.
        wanted: for each option that needs a run, whether it was given.

    Raises:
        InputError: one was given, and no run will be saved.
    """
    if until not in {None, STAGES[-1]} and (options := [option for option, given in wanted.items() if given]):
        raise InputError(f"{options[0]} is about a run, and none is saved: --until ends the training after {until}")


if __name__ == "__main__":
    import runpy
    import sys

    # By name, since the command line imports this module.
    sys.argv[1:1] = ["train"]
    runpy.run_module("flows.cli", run_name="__main__")
