"""Inspects the whole store: whether every record, artifact, run and state is there, and unaltered.

Like `git fsck`: every file that has a digest is hashed, and every file that is named must exist. What a running flow is
writing is not a finding: a problem counts only if a second inspection finds it too, and no recent file is reported as
left over or orphaned.
"""

import errno
import os
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tasks.caching.gc.uses import find_uses
from tasks.caching.key import flatten
from tasks.caching.records import ForeignRecordError, UnreadableRecordError, read_record
from tasks.caching.runs import pointers
from tasks.caching.runs.manifest import MANIFEST, REPORT, ForeignManifestError, Manifest, ManifestError
from tasks.caching.runs.sums import SIGNATURE, SUMS, find_altered
from tasks.caching.runs.verification import VERIFICATION
from tasks.caching.storage.contents import (
    ARTIFACT_NAME,
    SHIPPED,
    artifact_files,
    artifacts_in,
    files,
    is_known_name,
    is_published,
    saved_runs,
)
from tasks.caching.storage.layout import LINKED, linked_folders
from tasks.caching.storage.reference import Reference
from tasks.caching.storage.stage_checkpoints import NAME
from tasks.caching.storage.store import MOST_TEXT, DamagedArtifactError, Store, UnusableFileError, read_file
from tasks.caching.storage.strict_json import parse_object

Kind = Literal["damaged", "unreadable", "missing", "linked", "orphaned", "foreign", "left over"]

#: Findings that make a store unclean; the others are only reported.
PROBLEMS: tuple[Kind, ...] = ("damaged", "unreadable", "missing", "linked")

#: Seconds during which a file may belong to a run that has not finished.
IN_USE_SECONDS = 3600.0

#: Errors of a path that does not lead to a file, for example through a file in the place of a folder.
GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


@dataclass(frozen=True, order=True)
class Finding:
    """A fault in the store.

    Attributes:
        path: relative to the root.
        kind: damaged, unreadable (the disk cannot read the file, which may be intact), missing or linked (a link in
            the place of a folder); or orphaned (no record and no run names it), foreign (the store did not make it),
            or left over from a run that was killed.
        what: a description of the fault.
        named_by: the record or the run that names a missing or damaged artifact, relative to the root; empty if none.
    """

    path: str
    kind: Kind
    what: str
    named_by: str = ""


@dataclass
class Inspection:
    """The result of an inspection.

    Attributes:
        findings: sorted by path.
        counts: number of inspected records, artifacts, runs and stage checkpoints, by the names of their folders.
    """

    findings: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def problems(self) -> list[Finding]:
        """The findings that make the store unclean."""
        return [finding for finding in self.findings if finding.kind in PROBLEMS]


def inspect_store(store: Store, on_file: Callable[[], None] = lambda: None) -> Inspection:
    """Inspects the store, and once more if there is a problem; calls `on_file` for each file."""
    inspection = _Walk(store, on_file).inspection()
    if inspection.problems:
        confirmed = set(_Walk(store, lambda: None).inspection().findings)
        inspection.findings = [finding for finding in inspection.findings if finding in confirmed]
    return inspection


class _Walk:
    """One inspection of a store."""

    def __init__(self, store: Store, on_file: Callable[[], None]) -> None:
        self._store, self._on_file = store, on_file
        self._found: set[Finding] = set()
        self._counts: Counter[str] = Counter()
        self._named: set[str] = set()
        # A flow may have begun long ago, or just before the machine was suspended or its clock was set.
        self._is_old = is_older_than(min(time.time() - IN_USE_SECONDS, find_uses(store).since))

    def inspection(self) -> Inspection:
        """Inspects the store once."""
        for folder in linked_folders(self._store):
            self._find(folder, "linked", LINKED)
        if self._found:  # what would be missing may lie behind the link
            return Inspection(sorted(self._found), self._counts)
        self._records()
        self._runs()
        self._saved()
        self._stage_checkpoints()
        self._artifacts()  # last, since it needs to know what the others name
        return Inspection(sorted(self._found), self._counts)

    def _records(self) -> None:
        for path in self._files(self._store.records, levels=2):
            if path.relative_to(self._store.records).parts[0] not in {"locks", "last"}:
                self._look_at("records")
                if not self._is_left_over(path):
                    self._record(path)
        for path in self._files(self._store.records / "last", levels=2):
            self._look_at("records")
            if not self._is_left_over(path):
                self._json_object(path)

    def _record(self, path: Path) -> None:
        try:
            record = read_record(path)
        except FileNotFoundError:  # a running flow has just replaced it
            return
        except ForeignRecordError as error:
            self._find(path, "foreign", str(error))
            return
        except UnreadableRecordError as error:
            self._find(path, "damaged", str(error))
            return
        self._named |= artifacts_in(record.ingredients.values())
        for reference in record.outputs.values():
            self._reference(reference, path)

    def _runs(self) -> None:
        runs = self._store.runs
        for folder in sorted(runs.iterdir()) if runs.is_dir() and not runs.is_symlink() else ():
            if not is_known_name(folder.name):
                self._foreign(folder)
            elif folder.is_symlink() or pointers.is_pointer(folder.name):
                if wrong := pointers.what_is_wrong(folder, self._store):
                    self._find(folder, "damaged", wrong)
            elif folder.is_dir() and not folder.name.startswith("."):
                self._look_at("runs")
                self._run(folder)
            elif not self._is_left_over(folder) and folder.name not in SHIPPED:
                self._find(folder, "foreign", "is not a run")

    def _saved(self) -> None:
        for run in sorted(saved_runs(self._store)):
            if not os.path.lexists(self._store.runs / run):
                self._find(self._store.runs / run, "missing", "it was saved, and is gone", self._store.saved / run)

    def _run(self, folder: Path) -> None:
        if not any(folder.iterdir()):  # reserved by a run that is being saved, or was killed meanwhile
            if self._is_old(folder):
                self._find(folder, "left over", "the empty folder of a run that was never saved")
            return
        try:
            manifest = Manifest.read(folder)
        except ForeignManifestError as error:
            self._find(folder, "foreign", str(error))
            return
        except ManifestError as error:
            self._find(folder, "damaged", str(error))
            return
        self._named |= artifacts_in(flatten(manifest.experiment).values())
        made = [entry for stage in manifest.stages for entry in stage.outputs.values()]
        for entry in (*manifest.files.values(), *made):
            self._reference(entry.reference(), folder)
        self._run_files(folder, {*manifest.files, MANIFEST, REPORT})

    def _run_files(self, folder: Path, saved: set[str]) -> None:
        """Checks the files of a run whose digests are not in its manifest."""
        # If the list is not the one that was saved, it proves nothing; the record that says so has checked the files.
        if not self._is_found(folder / SUMS):
            for name, wrong in find_altered(self._store, folder.name, saved).items():
                self._find_once(folder / name, damaged_or_missing(folder / name), wrong)
        own = {*saved, SUMS, SIGNATURE, VERIFICATION}
        for path in self._files(folder, levels=2):
            if str(path.relative_to(folder)) not in own and not self._is_left_over(path):
                self._find(path, "foreign", "the run did not make it")
        if not (folder / REPORT).exists():
            self._find_once(folder / REPORT, "missing", "every run has a report", folder)
        self._json_object(folder / VERIFICATION)

    def _stage_checkpoints(self) -> None:
        for path in self._files(self._store.artifacts / "states", levels=3):
            self._look_at("states")
            whole = NAME.fullmatch(path.name) and self._has_named_digest(path)
            if not self._is_left_over(path) and not whole and os.path.lexists(path):
                self._find(path, "damaged", "its bytes do not have the digest in its name")

    def _artifacts(self) -> None:
        for path, relative in artifact_files(self._store, self._foreign):
            self._look_at("artifacts")
            if not self._is_left_over(path):
                self._artifact(path, relative)

    def _artifact(self, path: Path, relative: str) -> None:
        named = ARTIFACT_NAME.fullmatch(path.name)
        if named is None:
            self._find(path, "foreign", "the store does not use such names")
            return
        try:
            reference = Reference(relative, named["digest"], path.lstat().st_size, named["kind"])
            self._store.path(reference)
        except FileNotFoundError:
            return
        except DamagedArtifactError as error:
            self._find_once(path, "damaged", str(error))
        else:
            if relative not in self._named and self._is_old(path):
                self._find(path, "orphaned", "no record and no run names it")

    def _reference(self, reference: Reference, named_by: Path) -> None:
        """Checks an artifact that a record or a run names."""
        if not is_published(reference.path):
            self._find(named_by, "damaged", f"names {reference.path}, which is not an artifact of the store")
            return
        self._named.add(reference.path)
        try:
            self._store.path(reference)
        except DamagedArtifactError as error:
            path = self._store.locate(reference.path)
            if self._has_named_digest(path):
                self._find(named_by, "damaged", f"names {reference.path} with another digest or size")
                return
            self._find(path, damaged_or_missing(path), str(error), named_by)

    def _has_named_digest(self, path: Path) -> bool:
        """Whether a file has the digest that is part of its name."""
        named = ARTIFACT_NAME.fullmatch(path.name)
        if named is None or not os.path.lexists(path):
            return False
        try:
            relative = str(self._store.relative(path))
            self._store.path(Reference(relative, named["digest"], path.lstat().st_size, named["kind"]))
        except (FileNotFoundError, DamagedArtifactError):
            return False
        return True

    def _json_object(self, path: Path) -> None:
        try:
            parse_object(read_file(path))
        except FileNotFoundError:
            return
        except (UnusableFileError, ValueError):
            self._find(path, "damaged", "is not a JSON object")

    def _is_left_over(self, path: Path) -> bool:
        """Whether a file is temporary; a finding if no run can still be writing it."""
        temporary = any(part.startswith(".tmp-") for part in self._store.relative(path).parts)
        if temporary and self._is_old(path):
            self._find(path, "left over", "a temporary file of a run that was killed")
        return temporary

    def _files(self, folder: Path, levels: int) -> Iterable[Path]:
        """The files in a folder of the store; see `files`. Each foreign name is one finding."""
        return () if folder.is_symlink() else files(folder, levels, self._foreign)

    def _foreign(self, path: Path) -> None:
        self._find(path, "foreign", "the store does not use such names")

    def _look_at(self, what: str) -> None:
        self._counts[what] += 1
        self._on_file()

    def _find(self, path: Path, kind: Kind, what: str, named_by: Path | None = None) -> None:
        naming = "" if named_by is None else str(self._store.relative(named_by))
        if kind == "damaged" and (refused := disk_error(path)):
            kind, what = (
                "unreadable",
                f"{refused}: its content may be intact; repair or mount its disk, and check again",
            )
        self._found.add(Finding(str(self._store.relative(path)), kind, what, naming))

    def _find_once(self, path: Path, kind: Kind, what: str, named_by: Path | None = None) -> None:
        """Adds a finding, unless there is one about the path already."""
        if not self._is_found(path):
            self._find(path, kind, what, named_by)

    def _is_found(self, path: Path) -> bool:
        """Whether there is a finding about a path."""
        return str(self._store.relative(path)) in {finding.path for finding in self._found}


def is_older_than(moment: float) -> Callable[[Path], bool]:
    """Returns a function that says whether a path was last written before a moment; False if it is gone.

    Args:
        moment: in seconds since the epoch.
    """

    def old(path: Path) -> bool:
        try:
            return path.lstat().st_mtime < moment
        except OSError:
            return False

    return old


def disk_error(path: Path) -> str:
    """The system's message if a file, or a file in a folder, cannot be read; empty if it can.

    Only the beginning of a large file is read: a sparse one can have any size.
    """
    inside = files(path, 2) if path.is_dir() and not path.is_symlink() else ()
    for file in (path, *inside):
        try:
            if stat.S_ISREG(file.lstat().st_mode):
                with file.open("rb") as opened:
                    opened.read(MOST_TEXT)
        except OSError as error:
            if error.errno not in GONE:
                return os.strerror(error.errno or errno.EIO)
    return ""


def damaged_or_missing(path: Path) -> Kind:
    """The kind of finding for a file that cannot be used."""
    return "damaged" if os.path.lexists(path) else "missing"
