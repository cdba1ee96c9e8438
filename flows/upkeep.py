"""The commands that keep the store in order, and those that show that its promises hold."""

import sys
from typing import Annotated

from cyclopts import App, Parameter

from flows.arguments import AT_LEAST_ONE, UNCHANGED, AsJson, Changes, RunName, Source, given
from flows.experiments import load_experiment, resolve, settle
from flows.output import print_json, print_plain, tell
from flows.runs import find_folder, find_run
from tasks.caching.store import project_store

selftest_app: App = App(name="selftest", help="Shows on an experiment of yours that a promise is kept.")


def check(
    *,
    repair: Annotated[
        bool, Parameter(negative=(), help="Set aside what is damaged: the next run rebuilds it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check every record, artifact, run and resumable state; exits with 1 if something is damaged or missing."""
    from flows import checking

    store = project_store()
    found = checking.inspect_with_progress(store)
    repaired = checking.repair_with_pointers(store, found) if repair else None
    if as_json:
        print_json(checking.as_json(found, repaired))
    else:
        for line in checking.tell_inspection(found) if repaired is None else checking.tell_repair(repaired):
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
    """Free the space of runs that need not be kept, and of all that only they were made of; only tells, unless --apply.

    What the runs that stay descend from stays, and what each experiment used last. Flows may run meanwhile.
    """
    from flows import collecting
    from tasks.caching.garbage import Keep, find_garbage

    store = project_store()
    pinned = frozenset(find_folder(run, store).name for run in pin or ())
    garbage = find_garbage(store, Keep(keep_last, pinned, keep_verified))
    if apply:
        garbage = collecting.remove(store, garbage)
    if as_json:
        print_json(collecting.as_json(garbage, applied=apply))
    else:
        for line in collecting.tell(garbage, applied=apply):
            print_plain(line)


def reproduce(
    run: RunName = "latest",
    /,
    *,
    device: Annotated[
        str | None, Parameter(help="Train on this device in place of the run's own: auto, cpu, cuda, cuda:N or mps.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Repeat a run from its manifest in an empty store, and compare stage by stage; exits with 1 if one differs."""
    from flows.reproducing import reproduce_run
    from flows.session import prefect_session

    if device is not None:
        resolve(device)
    store = project_store()
    found = find_run(run, store)
    with prefect_session(store.root, notify=tell):
        report = reproduce_run(found.manifest, store, device or "", tell)
    if as_json:
        print_json(report.as_json())
    else:
        from flows.console import print_reproduction

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
    from flows.selftesting import selftest_resume
    from flows.session import prefect_session

    experiment = load_experiment(source, given(changes))
    settle(experiment)
    with prefect_session(project_store().root, notify=tell):
        report = selftest_resume(experiment, kills, tell)
    if as_json:
        print_json(vars(report) | {"passed": report.passed})
    else:
        from flows.console import print_resume_report

        print_resume_report(report)
    if not report.passed:
        sys.exit(1)
