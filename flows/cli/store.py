"""The commands that keep the store in order, and those that show that its promises hold."""

import sys
from typing import Annotated

from cyclopts import App, Parameter

from flows.cli.arguments import AT_LEAST_ONE, UNCHANGED, AsJson, Changes, RunArgument, Source, given
from flows.cli.terminal.output import print_json, print_notice, print_plain
from flows.config.experiments import load_experiment, require_device, resolve
from flows.runs.folders import find_folder, find_run
from tasks.caching.storage.store import project_store

selftest_app: App = App(name="selftest", help="Shows on an experiment of yours that a promise is kept.")


def check(
    *,
    repair: Annotated[
        bool, Parameter(negative=(), help="Set aside what is damaged: the next run rebuilds it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check every record, artifact, run and stage checkpoint; exits with 1 if something is damaged or missing."""
    from flows.maintenance import check

    store = project_store()
    found = check.inspect_with_progress(store)
    repaired = check.repair_with_pointers(store, found) if repair else None
    if as_json:
        print_json(check.as_json(found, repaired))
    else:
        for line in check.inspection_lines(found) if repaired is None else check.repair_lines(repaired):
            print_plain(line)
    if (found if repaired is None else repaired.remaining).problems:
        sys.exit(1)


def collect(
    *,
    keep_last: Annotated[
        int,
        Parameter(help="Runs to keep of each experiment, the newest; at least 1.", validator=AT_LEAST_ONE),
    ] = 10,
    pin: Annotated[list[str] | None, Parameter(negative=(), help="Keep this run too; may be repeated.")] = None,
    keep_verified: Annotated[bool, Parameter(help="Keep every run that passed its last verification.")] = True,
    apply: Annotated[bool, Parameter(negative=(), help="Remove it; without this, only say what would go.")] = False,
    as_json: AsJson = False,
) -> None:
    """Free the space of runs that need not be kept, and of all that only they were made of; a dry run, unless --apply.

    What the runs that stay descend from stays, and what each experiment used last. Flows may run meanwhile.
    """
    from flows.maintenance import collect
    from tasks.caching.gc.garbage import Keep, find_garbage

    store = project_store()
    pinned = frozenset(find_folder(run, store).name for run in pin or ())
    garbage = find_garbage(store, Keep(keep_last, pinned, keep_verified))
    if apply:
        garbage = collect.remove(store, garbage)
    if as_json:
        print_json(collect.as_json(garbage, applied=apply))
    else:
        for line in collect.garbage_lines(garbage, applied=apply):
            print_plain(line)


def reproduce(
    run: RunArgument = "latest",
    /,
    *,
    device: Annotated[
        str | None, Parameter(help="Train on this device in place of the run's own: auto, cpu, cuda, cuda:N or mps.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Repeat a run from its manifest in an empty store, and compare stage by stage; exits with 1 if one differs."""
    from flows.maintenance.reproduce import reproduce_run
    from flows.runtime.session import prefect_session

    if device is not None:
        resolve(device)
    store = project_store()
    found = find_run(run, store)
    with prefect_session(store.root, notify=print_notice):
        report = reproduce_run(found.manifest, store, device or "", print_notice)
    if as_json:
        print_json(report.as_json())
    else:
        from flows.cli.terminal.console import print_reproduction

        print_reproduction(report)
    if not report.passed:
        sys.exit(1)


@selftest_app.command
def resume(
    source: Source = "line",
    /,
    *,
    kills: Annotated[
        int, Parameter(help="How often the training is killed; at least once.", validator=AT_LEAST_ONE)
    ] = 3,
    as_json: AsJson = False,
    changes: Changes = UNCHANGED,
) -> None:
    """Kill a real training again and again, and show that it ends with the very bytes of one that was left alone."""
    from flows.maintenance.selftest import selftest_resume
    from flows.runtime.session import prefect_session

    experiment = load_experiment(source, given(changes))
    require_device(experiment)
    with prefect_session(project_store().root, notify=print_notice):
        report = selftest_resume(experiment, kills, print_notice)
    if as_json:
        print_json(vars(report) | {"passed": report.passed})
    else:
        from flows.cli.terminal.console import print_resume_report

        print_resume_report(report)
    if not report.passed:
        sys.exit(1)
