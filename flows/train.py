"""Flow `train`: from nothing to a trained, evaluated, plotted and saved model.

This is the file to read first. Each line of `pipeline` runs one stage, or reuses what it made before; each stage is a
module of that name in tasks/. `workflow plan` walks these very lines to say what would run, without running it.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from flows.errors import InputError
from tasks.caching.stage import Run, stages
from tasks.evaluate import evaluate
from tasks.generate import generate
from tasks.plot import plot
from tasks.save import save
from tasks.split import split
from tasks.train import train


def pipeline(run: Run) -> Mapping[str, Any]:
    """Generate ──► split ──► train ──► evaluate ──► plot ──► save."""
    dataset = run(generate)
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


def require_reached(refresh: Iterable[str], until: str | None) -> None:
    """Checks that a run gets as far as the stages that it is to run again.

    Raises:
        InputError: it would end before one of them.
    """
    reached = STAGES if until is None else STAGES[: STAGES.index(until) + 1]
    if missed := [stage for stage in refresh if stage in STAGES and stage not in reached]:
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
