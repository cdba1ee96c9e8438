"""The command line, `workflow`. What a command needs is imported when it runs: `--help` and `plan` stay quick."""

import contextlib
import gc
import io
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter
from pydantic import ValidationError

from flows.cli.alerts import alerts_app
from flows.cli.arguments import (
    AT_LEAST_ONE,
    UNCHANGED,
    AsJson,
    Changes,
    Ephemeral,
    Refresh,
    RunArgument,
    Source,
    Until,
    given,
    is_digest,
)
from flows.cli.experiments import init, presets
from flows.cli.schedules import schedules_app
from flows.cli.serve import deploy, deployments, serve, ui, worker
from flows.cli.server import server_app
from flows.cli.store import check, collect, reproduce, selftest_app
from flows.cli.terminal.output import (
    print_heading,
    print_json,
    print_line,
    print_notice,
    print_places,
    print_plain,
    shown_path,
    stage_lines,
)
from flows.config.experiments import load_experiment, require_device, resolve, settle
from flows.config.options import require_shallow
from flows.environment.checkout import require_same_checkout
from flows.environment.settings import Api
from flows.errors import InputError, list_problems, truncate
from flows.runs.folders import find_folder, find_run, list_runs
from flows.runs.history import SHOWN, read_history, rejections_of
from flows.signals import Interrupted, interruptible
from flows.train import require_reached, require_run
from tasks.caching.key import version
from tasks.caching.runs.manifest import ManifestError
from tasks.caching.storage.errors import describe_error
from tasks.caching.storage.store import project_store

app = App(
    name="workflow",
    help="PyTorch training that is scheduled, watched and rerun: cached stages, and checkpoints that prove themselves.",
    help_epilogue="An error is printed as one message; with --debug, its traceback comes first.",
    help_on_error=False,
    suppress_keyboard_interrupt=False,  # `run` reports it
    default_parameter=Parameter(negative_iterable=()),
    version=lambda: version("pytorch-workflow"),
    version_flags=["--version"],
)
app.command(server_app)
app.command(alerts_app)
app.command(schedules_app)
app.command(selftest_app)
for command in (
    serve,
    worker,
    deploy,
    deployments,
    ui,
    check,
    collect,
    reproduce,
    init,
    presets,
):
    app.command(command)


@app.command
def train(
    source: Source = "line",
    /,
    *,
    refresh: Refresh = None,
    until: Until = None,
    verify_too: Annotated[bool, Parameter(name="--verify", negative=(), help="Verify the checkpoint after.")] = False,
    fail_on_rejection: Annotated[
        bool, Parameter(negative=(), help="Exit with 1 if the run misses a bound of the experiment's [accept] table.")
    ] = False,
    ephemeral: Ephemeral = False,
    as_json: AsJson = False,
    changes: Changes = UNCHANGED,
) -> None:
    """Train, evaluate, plot and save a model; what has not changed is reused."""
    experiment = load_experiment(source, given(changes))
    require_device(experiment)
    require_reached(experiment, refresh or (), until)
    require_run(until, {"--verify": verify_too, "--fail-on-rejection": fail_on_rejection})
    with session(ephemeral=ephemeral) as api, stage_lines(quiet=as_json):
        from flows import orchestration

        print_heading(f"train {experiment.name}", quiet=as_json)
        run = orchestration.train(experiment, refresh or [], until)
        if run is not None and verify_too:
            print_heading(f"verify {run}", quiet=as_json)
            orchestration.verify(run, experiment.training.device)
    if run is None:
        if as_json:
            print_json({"run": None, "until": until})
        return
    store = project_store()
    found = find_run(run, store)
    rejections = rejections_of(found, store)
    print_places(found, rejections, api, as_json=as_json)
    if fail_on_rejection and rejections:
        sys.exit(1)


@app.command
def plan(
    source: Source = "line",
    /,
    *,
    refresh: Refresh = None,
    until: Until = None,
    as_json: AsJson = False,
    changes: Changes = UNCHANGED,
) -> None:
    """Say which stages a training would reuse and which it would run, and why; runs and writes nothing."""
    from flows.planning import plan_training

    experiment = settle(load_experiment(source, given(changes)))
    decisions = plan_training(experiment, project_store(), frozenset(refresh or ()), until)
    if as_json:
        print_json([{"stage": d.stage, "status": d.status, "reasons": [*map(str, d.reasons)]} for d in decisions])
    else:
        from flows.cli.terminal.console import print_plan

        print_plan(experiment.name, decisions)


@app.command
def verify(
    run: RunArgument = "latest",
    /,
    *,
    device: Annotated[str, Parameter(help="Where to predict: auto, cpu, cuda, cuda:N or mps.")] = "auto",
    expect: Annotated[
        str | None,
        Parameter(help="Fail unless run.json has this SHA-256, as `workflow train` printed it.", validator=is_digest),
    ] = None,
    ephemeral: Ephemeral = False,
    as_json: AsJson = False,
) -> None:
    """Show that a run's checkpoint predicts what training recorded, row by row; fails if it does not."""
    resolve(device)
    folder = find_folder(run, project_store())
    with session(ephemeral=ephemeral) as api, stage_lines(quiet=as_json):
        from flows import orchestration

        print_heading(f"verify {folder.name}", quiet=as_json)
        orchestration.verify(folder.name, device, expect=expect)
    found = find_run(folder.name, project_store())
    print_places(found, rejections_of(found, project_store()), api, as_json=as_json)


@app.command
def runs(
    *,
    experiment: Annotated[str | None, Parameter(help="List the runs of this experiment only.")] = None,
    last: Annotated[
        int | None,
        Parameter(help="List the newest runs only, so many; at least 1.", validator=AT_LEAST_ONE),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the runs, oldest first: experiment, device, metrics, verified and accepted or not."""
    found, damaged = list_runs(project_store())
    if experiment is not None:
        found = [run for run in found if run.manifest.experiment["name"] == experiment]
    judged = []
    for run in found[-last:] if last else found:
        try:
            judged.append((run, rejections_of(run, project_store())))
        except (InputError, ManifestError) as error:
            damaged[run.folder.name] = str(error)
    if as_json:
        whole = (run.summary() | {"rejections": rejections} for run, rejections in judged)
        print_json([*whole, *({"run": run, "damaged": why} for run, why in damaged.items())])
        return
    from flows.cli.terminal.console import print_runs

    if judged:
        print_runs(judged)
    elif experiment is not None:
        print_line(f"There is no run of {experiment}: `workflow runs` lists all runs.")
    elif not damaged:
        print_line("There is no run yet: `workflow train` makes one.")
    for problem in damaged.values():
        print_notice(problem)


@app.command
def show(run: RunArgument = "latest", /, *, as_json: AsJson = False) -> None:
    """Show one run: configuration, metrics, stages and files."""
    found = find_run(run, project_store())
    rejections = rejections_of(found, project_store())
    if as_json:
        manifest = found.manifest.model_dump(mode="json")
        print_json(found.summary() | {"rejections": rejections, "manifest": manifest})
    else:
        from flows.cli.terminal.console import print_run

        print_run(found, rejections)


@app.command
def compare(
    run: RunArgument,
    other: Annotated[str, Parameter(help="The run to compare with, named likewise.")],
    /,
    *more: Annotated[str, Parameter(help="Further runs.")],
    as_json: AsJson = False,
) -> None:
    """Compare runs: where their configurations differ, and their metrics side by side."""
    from flows.runs.comparison import compare_runs

    found = [find_run(name, project_store()) for name in (run, other, *more)]
    if len({run.folder for run in found}) < len(found):
        raise InputError("a run is named twice: compare different runs")
    comparison = compare_runs(found)
    if as_json:
        print_json(comparison)
    else:
        from flows.cli.terminal.console import print_comparison

        print_comparison(comparison)


@app.command
def history(
    experiment: Annotated[str, Parameter(help="The name of an experiment that has runs.")],
    /,
    *,
    last: Annotated[int, Parameter(help="Runs to list, the newest; at least 1.", validator=AT_LEAST_ONE)] = SHOWN,
    plot: Annotated[
        Path | None,
        Parameter(help="Draw into this .png or .svg file; artifacts/history has both when not given."),
    ] = None,
    fail_on_drift: Annotated[bool, Parameter(negative=(), help="Exit with 1 if the newest run drifts.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print and draw the test metrics of an experiment's runs, and flag what leaves the band of the runs before."""
    from flows.ui.history_page import plot_paths, publish, write_plot

    store = project_store()
    found = read_history(experiment, store, last)
    paths, page = plot_paths(experiment, store, plot) if found.rows else [], None
    if paths:
        page = publish(found, write_plot(found, paths), store.root, print_notice)
    if as_json:
        print_json(found.as_json() | {"plots": [str(path) for path in paths], "ui": page and page.address})
    else:
        from flows.cli.terminal.console import print_history

        link = page.link(sys.stdout) if page else None
        print_history(found, [shown_path(path.absolute()) for path in paths], link)
    for problem in found.damaged.values():
        print_notice(problem)
    if fail_on_drift and found.drifts:
        sys.exit(1)


@app.command
def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(help="The shell to complete in.")], /
) -> None:
    """Print a script with which a shell completes commands and options: eval it, or keep it where the shell looks."""
    print_plain(app.generate_completion(prog_name="workflow", shell=shell))


def session(*, ephemeral: bool) -> contextlib.AbstractContextManager[Api | None]:
    """Prefect, set up for the project; notices, such as on what takes a while, go to the error stream."""
    from flows.runtime.session import prefect_session

    return prefect_session(project_store().root, ephemeral=ephemeral, notify=print_notice)


def run(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line.

    Exits with 0 when done, 1 when a run or a verification failed, 2 on bad input, 130 after Ctrl-C, 143 after SIGTERM
    and 129 after SIGHUP.
    """
    for stream in (sys.stdout, sys.stderr):
        # An arrow that a terminal's encoding does not have is no reason to end a training.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    # Importing Prefect and torch makes about a million objects that stay to the end. At its default threshold the
    # garbage collector looks through them again and again while they are made, and twice more when the interpreter
    # ends: half a second in all. It still looks, but seldom, and not at what the end will free anyway.
    gc.set_threshold(100_000)
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    try:
        with interruptible():
            require_same_checkout(Path(sys.argv[0]))
            require_shallow(words)
            app([word for word in words if word != "--debug"], exit_on_error=False, print_error=False)
    except Exception as error:
        if debug:
            traceback.print_exc()
        sys.exit(report_error(error))
    except Interrupted as interruption:
        print_notice("interrupted: what is finished is kept, and the same command continues from there")
        sys.exit(interruption.exit_code)
    finally:
        gc.freeze()


def report_error(error: Exception) -> int:
    """Prints an error as one message, without a traceback; returns the exit code."""
    # An option's value that is wrong by itself: the command line's parser wraps what pydantic found.
    found = error.__cause__ if isinstance(error, CycloptsError) else error
    if isinstance(found, ValidationError):
        error = list_problems(found, "the command line")
    print_notice(truncate(f"error: {describe_error(error)}"))
    return 2 if isinstance(error, InputError | CycloptsError) else 1
