"""`workflow collect`: what a collection of garbage would free, or has freed, in lines."""

import sys
from collections import Counter
from typing import Any

from flows.runs.wording import counted, counted_kind, in_one_line
from tasks.caching.gc.collection import collect
from tasks.caching.gc.garbage import Garbage
from tasks.caching.storage.store import Store


def remove(store: Store, garbage: Garbage) -> Garbage:
    """Removes garbage; a terminal shows how far it has come."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("removing"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("removing", total=sum(map(len, garbage.by_kind.values())))
        return collect(store, garbage, lambda: progress.advance(task))


def garbage_lines(garbage: Garbage, *, applied: bool) -> list[str]:
    """A collection in lines for people, what matters last."""
    from rich.filesize import decimal

    lines = [f"keeps {counted(count, 'runs')}: {why}" for why, count in Counter(garbage.kept.values()).items()]
    verb = "removed" if applied else "would remove"
    lines += [in_one_line(f"{verb} {run.rpartition('/')[2]}, {decimal(size)}") for run, size in garbage.runs.items()]
    parts = (counted_kind(len(found), kind) for kind, found in garbage.by_kind.items() if found)
    total = total_bytes(garbage)
    what = ", ".join(parts)
    if not what:
        return [*lines, "nothing to remove"]
    if applied:
        return [*lines, f"removed {what}; freed {decimal(total)}"]
    return [*lines, f"would remove {what}, and free {decimal(total)}; add --apply to do it"]


def as_json(garbage: Garbage, *, applied: bool) -> dict[str, Any]:
    """A collection for programs."""
    return {"applied": applied, "kept": garbage.kept, "removes": garbage.by_kind, "bytes": total_bytes(garbage)}


def total_bytes(garbage: Garbage) -> int:
    """Bytes of all that goes."""
    return sum(sum(found.values()) for found in garbage.by_kind.values())
