"""`workflow check`: what an inspection of the store found, and what a repair did about it, in lines."""

import sys
from typing import Any

from flows.runs.folders import list_runs
from flows.runs.wording import counted_kind, in_one_line
from tasks.caching.gc.inspection import Inspection, inspect_store
from tasks.caching.gc.repair import Repair, repair_store
from tasks.caching.runs.pointers import point, pointers, what_is_wrong
from tasks.caching.storage.store import Store


def inspect_with_progress(store: Store) -> Inspection:
    """Inspects the store; a terminal shows how far it has come."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

    columns = (SpinnerColumn(), TextColumn("checking"), MofNCompleteColumn(), TextColumn("files"))
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("checking", total=None)
        return inspect_store(store, lambda: progress.advance(task))


def repair_with_pointers(store: Store, inspection: Inspection) -> Repair:
    """Repairs the store; `latest` and its like point to the newest run that is left, or are gone with the last one."""
    repair = repair_store(store, inspection)
    runs, _ = list_runs(store)
    newest = {pointer: run.folder for run in runs for pointer in pointers(run.manifest.experiment["name"])}
    for pointer, folder in newest.items():
        if what_is_wrong(store.runs / pointer, store):
            point(pointer, folder, store)
    return repair


def inspection_lines(inspection: Inspection) -> list[str]:
    """An inspection in lines for people, what matters last."""
    # Once, however many records and runs name it.
    lines = dict.fromkeys(
        in_one_line(f"{finding.kind:<10} {finding.path}: {finding.what}") for finding in inspection.findings
    )
    looked_at = ", ".join(counted_kind(count, what) for what, count in sorted(inspection.counts.items())) or "nothing"
    problems = len({finding.path for finding in inspection.problems})
    verdict = f"not clean, {problems} to mend" if problems else "clean"
    return [*lines, f"{verdict}; looked at {looked_at}"]


def repair_lines(repair: Repair) -> list[str]:
    """A repair in lines for people."""
    return [
        *(in_one_line(f"set aside  {path}, now in {place}") for path, place in repair.set_aside.items()),
        *(
            in_one_line(f"forgotten  {path}, now in {place}: the record that it names is gone")
            for path, place in repair.forgotten.items()
        ),
        *(in_one_line(f"removed    {path}") for path in repair.removed),
        *(in_one_line(f"restored   {path}") for path in repair.restored),
        *inspection_lines(repair.remaining),
    ]


def as_json(inspection: Inspection, repair: Repair | None) -> dict[str, Any]:
    """What `workflow check --json` prints."""
    left = inspection if repair is None else repair.remaining
    return {
        "clean": not left.problems,
        "looked_at": dict(inspection.counts),
        "findings": [vars(finding) for finding in inspection.findings],
        "repair": None
        if repair is None
        else {
            "set_aside": repair.set_aside,
            "forgotten": repair.forgotten,
            "removed": repair.removed,
            "restored": repair.restored,
            "remaining": [vars(finding) for finding in repair.remaining.findings],
        },
    }
