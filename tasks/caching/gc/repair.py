"""Sets aside what an inspection found to be damaged, so that the next run makes it again. Nothing is deleted."""

import contextlib
import hashlib
import shutil
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tasks.caching.gc.inspection import Finding, Inspection, inspect_store
from tasks.caching.gc.inventory import UnreadableStoreError, missing_last
from tasks.caching.records import record_of
from tasks.caching.runs.manifest import MANIFEST, REPORT, SAVED_BY, Manifest, ManifestError
from tasks.caching.runs.sums import SUMS, rebuilt
from tasks.caching.storage.durable import replace_file
from tasks.caching.storage.store import Store

#: Most rounds of inspection and repair: setting a file aside can leave another one that named it, and so on.
ROUNDS = 8


@dataclass
class Repair:
    """What a repair did.

    Attributes:
        set_aside: the old and the new place of each item, relative to the root.
        forgotten: likewise, of each note that a missing record was used last.
        removed: left-over temporary files.
        restored: lists of digests that were rebuilt as their runs' records say they were.
        remaining: the inspection afterwards.
    """

    set_aside: dict[str, str] = field(default_factory=dict)
    forgotten: dict[str, str] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    restored: list[str] = field(default_factory=list)
    remaining: Inspection = field(default_factory=Inspection)


def repair_store(store: Store, inspection: Inspection) -> Repair:
    """Sets aside what is damaged, and every record that names a damaged or missing file; removes left-over files.

    A list of digests that is damaged or missing is rebuilt if its run is intact.

    What says that a missing record was used last is set aside too: a collection is refused as long as it is there.

    A run that names a missing artifact stays: its checkpoint is intact, and training again restores the artifact.
    """
    repair = Repair(remaining=inspection)
    for _ in range(ROUNDS):
        if restored := restore_lists(store, repair.remaining):
            repair.restored += restored
            repair.remaining = inspect_store(store)
        targets = {path for finding in repair.remaining.problems if (path := to_set_aside(finding))}
        for path in sorted(targets):
            # Another repair, or a collection, may have been quicker.
            with contextlib.suppress(FileNotFoundError):
                if (there := store.locate(path)).exists() or there.is_symlink():
                    repair.set_aside[path] = store.set_aside(there)
        repair.forgotten |= forget_missing(store, repair.remaining)
        repair.removed += remove_left_over(store, repair.remaining)
        repair.remaining = inspect_store(store)
        if not targets:
            break
    return repair


def restore_lists(store: Store, inspection: Inspection) -> list[str]:
    """Rebuilds lists of digests that are damaged or missing, of intact runs; returns their paths.

    The record of the stage save has the digest of the list: what is rebuilt is exactly the list that was saved.
    """
    restored = []
    # What the disk cannot read may be intact.
    wrong = {finding.path for finding in inspection.problems if finding.kind != "unreadable"}
    for path in sorted(path for path in wrong if PurePosixPath(path).name == SUMS):
        place = store.locate(path)
        with contextlib.suppress(ManifestError, OSError):
            names = {*Manifest.read(place.parent).files, MANIFEST, REPORT}
            content = rebuilt(store, place.parent.name, names)
            record = record_of(path, SAVED_BY, store)
            saved = {reference.digest for reference in record.outputs.values()} if record else set()
            if hashlib.sha256(content).hexdigest() in saved:
                if place.exists() or place.is_symlink():
                    store.set_aside(place)
                replace_file(place, content)
                restored.append(path)
    return restored


def to_set_aside(finding: Finding) -> str:
    """The file, record or whole run to set aside because of a problem; empty if none."""
    if finding.kind in {"linked", "unreadable"}:  # what is behind the link or the error may be intact
        return ""
    if finding.kind == "damaged":
        return run_of(finding.path) or finding.path
    if finding.named_by.startswith(("artifacts/records/", "artifacts/saved/")):
        return finding.named_by
    return run_of(finding.path)


def run_of(path: str) -> str:
    """The run folder that contains a path; empty if there is none, or if the path is the result of a verification."""
    parts = PurePosixPath(path).parts
    inside = parts[:2] == ("artifacts", "runs") and len(parts) > 2 and parts[-1] != "verification.json"
    return "/".join(parts[:3]) if inside else ""


def forget_missing(store: Store, inspection: Inspection) -> dict[str, str]:
    """Sets aside what says that a missing record was used last; returns the old and the new place of each note.

    A missing record is a stage that has not run, but until its note is gone, it may be put back.
    """
    forgotten: dict[str, str] = {}
    if any(finding.kind == "linked" for finding in inspection.problems):  # the record may be behind the link
        return forgotten
    # What cannot be read stays as it is.
    with contextlib.suppress(UnreadableStoreError, OSError):
        for _, note in missing_last(store):
            forgotten[note] = store.set_aside(store.locate(note))
    return forgotten


def remove_left_over(store: Store, inspection: Inspection) -> list[str]:
    """Removes what killed runs left over; returns the paths."""
    removed = []
    for finding in inspection.findings:
        if finding.kind == "left over":
            remove(store.locate(finding.path))
            removed.append(finding.path)
    return removed


def remove(path: Path) -> None:
    """Removes a file, or a folder with its content, which another process may be removing at the same time."""
    while path.is_dir() and not path.is_symlink():
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(path)
    path.unlink(missing_ok=True)
