"""Puts what an inspection found out of the way, so that the next run makes it anew. Nothing is thrown away."""

import contextlib
import hashlib
import shutil
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tasks.caching.gc.inspection import Finding, Inspection, inspect_store
from tasks.caching.records import record_of
from tasks.caching.runs.manifest import MANIFEST, REPORT, Manifest, ManifestError
from tasks.caching.runs.sums import SUMS, rebuilt
from tasks.caching.storage.durable import replace_file
from tasks.caching.storage.store import Store

#: Looks at the store; what is set aside can leave something that named it, and that something else again.
ROUNDS = 8


@dataclass
class Repair:
    """What a repair did.

    Attributes:
        set_aside: where each thing lay, relative to the root, and where it lies now.
        removed: left-over temporaries.
        restored: lists of digests that were made again, as the records of their runs say that they were.
        remaining: the inspection after it.
    """

    set_aside: dict[str, str] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    restored: list[str] = field(default_factory=list)
    remaining: Inspection = field(default_factory=Inspection)


def repair_store(store: Store, inspection: Inspection) -> Repair:
    """Sets aside what is damaged, and every record that names something damaged or missing; removes what is left over.

    A list of digests that is damaged or missing is made again if its run is whole.

    A run that names a missing artifact stays: its checkpoint is whole, and training again brings the artifact back.
    """
    repair = Repair(remaining=inspection)
    for _ in range(ROUNDS):
        if restored := restore_lists(store, repair.remaining):
            repair.restored += restored
            repair.remaining = inspect_store(store)
        targets = {path for finding in repair.remaining.problems if (path := to_set_aside(finding))}
        for path in sorted(targets):
            # Another repair, or a collection, may be quicker.
            with contextlib.suppress(FileNotFoundError):
                if (there := store.locate(path)).exists() or there.is_symlink():
                    repair.set_aside[path] = store.set_aside(there)
        repair.removed += remove_left_over(store, repair.remaining)
        repair.remaining = inspect_store(store)
        if not targets:
            break
    return repair


def restore_lists(store: Store, inspection: Inspection) -> list[str]:
    """Makes lists of digests again that are damaged or missing, of runs that are whole; returns their paths.

    The record of a run's save has the digest of its list: what is made again is the very list that was saved.
    """
    restored = []
    # What the disk does not give may be whole.
    wrong = {finding.path for finding in inspection.problems if finding.kind != "unreadable"}
    for path in sorted(path for path in wrong if PurePosixPath(path).name == SUMS):
        place = store.locate(path)
        with contextlib.suppress(ManifestError, OSError):
            names = {*Manifest.read(place.parent).files, MANIFEST, REPORT}
            content = rebuilt(store, place.parent.name, names)
            record = record_of(path, "save", store)
            saved = {reference.digest for reference in record.outputs.values()} if record else set()
            if hashlib.sha256(content).hexdigest() in saved:
                if place.exists() or place.is_symlink():
                    store.set_aside(place)
                replace_file(place, content)
                restored.append(path)
    return restored


def to_set_aside(finding: Finding) -> str:
    """What is to be put out of the way because of a problem: a file, a record, or a whole run; empty for nothing."""
    if finding.kind in {"linked", "unreadable"}:  # the store would miss what may be whole, behind the link or the error
        return ""
    if finding.kind == "damaged":
        return run_of(finding.path) or finding.path
    if finding.named_by.startswith(("artifacts/records/", "artifacts/saved/")):
        return finding.named_by
    return run_of(finding.path)


def run_of(path: str) -> str:
    """The run folder that a path lies in; empty if it lies in none, or if it is a mere verification's outcome."""
    parts = PurePosixPath(path).parts
    inside = parts[:2] == ("artifacts", "runs") and len(parts) > 2 and parts[-1] != "verification.json"
    return "/".join(parts[:3]) if inside else ""


def remove_left_over(store: Store, inspection: Inspection) -> list[str]:
    """Removes what killed runs left; returns what it was."""
    removed = []
    for finding in inspection.findings:
        if finding.kind == "left over":
            remove(store.locate(finding.path))
            removed.append(finding.path)
    return removed


def remove(path: Path) -> None:
    """Removes a file, or a folder with all that is in it, of which another process may remove some meanwhile."""
    while path.is_dir() and not path.is_symlink():
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(path)
    path.unlink(missing_ok=True)
