"""What the runs and records of a store name: unless all of it can be read, nothing may be removed."""

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from tasks.caching.external import NOTES
from tasks.caching.key import digest_of, flatten
from tasks.caching.records import ForeignRecordError, Record, UnreadableRecordError, read_record
from tasks.caching.runs.manifest import MANIFEST, ForeignManifestError, Manifest, ManifestError
from tasks.caching.runs.pointers import is_pointer
from tasks.caching.runs.sums import SUMS, is_altered
from tasks.caching.storage.contents import ARTIFACT_NAME, artifact_files, artifacts_in, files, saved_runs
from tasks.caching.storage.store import Store, UnusableFileError, read_file
from tasks.caching.storage.strict_json import parse_object
from tasks.limits import RUN


class CollectionRefusedError(Exception):
    """Nothing may be removed: it is not known what all runs and records of the store need."""


class ForeignStoreError(CollectionRefusedError):
    """Another version of this project shares the store, and only that version knows what its runs need."""


class UnreadableStoreError(CollectionRefusedError):
    """A run, a record or a file beside them cannot be read, so that it is not known what it needs."""


def artifacts_of(sources: Iterable[Record | Manifest]) -> set[str]:
    """The paths of all artifacts that records and runs name, in their settings included."""
    named: set[str] = set()
    for source in sources:
        if isinstance(source, Record):
            named |= {reference.path for reference in source.outputs.values()}
            named |= artifacts_in(source.ingredients.values())
        else:
            named |= {entry.path for entry in source.files.values()}
            named |= {entry.path for stage in source.stages for entry in stage.outputs.values()}
            named |= artifacts_in(flatten(source.experiment).values())
    return named


def runs_among(paths: Iterable[str]) -> set[str]:
    """The names of the runs whose files are among some paths."""
    parts = (PurePosixPath(path).parts for path in paths)
    return {names[2] for names in parts if names[:2] == ("artifacts", "runs") and len(names) > 3}


def read_manifests(store: Store) -> Iterator[tuple[str, Manifest]]:
    """Each run's name with its manifest.

    Raises:
        ForeignStoreError: another version of this project made one of them.
        UnreadableStoreError: one of them is missing, damaged, unreadable, or behind a link.
    """
    for folder in sorted(store.runs.iterdir()) if store.runs.is_dir() else ():
        if not is_run(folder) or (folder.is_dir() and not any(folder.iterdir())):
            continue
        if folder.is_symlink():
            raise unreadable(store.relative(folder), "is a link")
        try:
            manifest = Manifest.read(folder)
            if is_altered(store, folder.name, MANIFEST):
                raise unreadable(store.relative(folder / MANIFEST), f"does not have the digest in {SUMS} beside it")
        except ForeignManifestError as error:
            raise foreign(store.relative(folder)) from error
        except ManifestError as error:
            raise unreadable(store.relative(folder / MANIFEST)) from error
        except (UnusableFileError, FileNotFoundError) as error:
            if not folder.exists():  # another collection has just removed it
                continue
            raise unreadable(store.relative(folder / SUMS)) from error
        yield folder.name, manifest


def require_together(manifests: Mapping[str, Manifest], records: Mapping[str, Record], store: Store) -> None:
    """Checks that artifacts/ is there with its records, which name the tables: its disk may not be mounted.

    Raises:
        UnreadableStoreError: there are tables, but no run or record; or there are runs, but no record; or records,
            but nothing that says which of them were used last.
    """
    if manifests and not records:
        raise UnreadableStoreError(
            "collection refused: artifacts/records has no record, though there are runs: restore its content, or train "
            "once if that is gone for good"
        )
    if records and is_missing(store.records / "last"):
        raise UnreadableStoreError(
            "collection refused: artifacts/records/last is missing, though there are records, and says which of them "
            "are needed: restore it, or train once if it is gone for good"
        )
    if not (manifests or records or saved_runs(store)) and any(path.startswith("data/") for path in published(store)):
        raise UnreadableStoreError(
            "collection refused: artifacts/ has no run and no record, though data/ has tables: restore its content, "
            "for example by mounting its disk, or remove data/ yourself if that is gone for good"
        )


def is_run(folder: Path) -> bool:
    """Whether a folder or link in artifacts/runs may be a run, or lead to one, by its name."""
    named = re.fullmatch(RUN, folder.name) is not None and not is_pointer(folder.name)
    return named and (folder.is_dir() or folder.is_symlink())


def require_named(manifests: Mapping[str, Manifest], store: Store) -> None:
    """Checks that no run was renamed: runs are kept by their own names.

    Raises:
        UnreadableStoreError: a folder has the manifest of a run that is missing.
    """
    for path in store.runs.glob(f"[!.]*/{MANIFEST}"):
        if is_run(path.parent) or path.parent.is_symlink():
            continue
        with contextlib.suppress(OSError, UnusableFileError, ValueError):
            run = parse_object(read_file(path)).get("run")
            if isinstance(run, str) and run not in manifests:
                raise unreadable(store.relative(path.parent), f"is the run {run!r} under another name")


def read_records(store: Store) -> Iterator[tuple[str, Record]]:
    """Each record with its path relative to the root.

    Raises:
        ForeignStoreError: another version of this project made one of them.
        UnreadableStoreError: one of them is damaged or unreadable.
    """
    for path in files(store.records, 2):  # a folder in the place of a record is none
        if path.relative_to(store.records).parts[0] in {"locks", "last"} or path.name.startswith(".tmp-"):
            continue
        try:
            yield str(store.relative(path)), read_record(path)
        except FileNotFoundError:  # another collection has just removed it
            continue
        except ForeignRecordError as error:
            raise foreign(store.relative(path)) from error
        except UnreadableRecordError as error:
            raise unreadable(store.relative(path)) from error


def require_saved(manifests: Mapping[str, Manifest], store: Store) -> None:
    """Checks that each run that was saved exists: one that was moved away may be put back.

    Raises:
        UnreadableStoreError: a run is missing.
    """
    for run in saved_runs(store) - manifests.keys():
        # A run may have been saved after the manifests were read, or another collection have removed it.
        if not (store.runs / run / MANIFEST).exists() and (store.saved / run).exists():
            raise unreadable(PurePosixPath("artifacts/runs", run, MANIFEST))


def require_runs(manifests: Mapping[str, Manifest], records: Mapping[str, Record], store: Store) -> None:
    """Checks that each run that a record names exists: one that was moved away may be put back.

    Raises:
        UnreadableStoreError: a run is missing.
    """
    for path, record in records.items():
        for run in runs_among(artifacts_of([record])) - manifests.keys():
            # A run may have been saved after the manifests were read, or another collection have removed both.
            saved = store.runs / run
            if (saved.is_symlink() or not (saved / MANIFEST).exists()) and store.locate(path).exists():
                raise unreadable(PurePosixPath("artifacts/runs", run, MANIFEST))


def last_used(store: Store, stage: str | None = None) -> Iterator[tuple[str, str]]:
    """The path of each record that an experiment last used, with that of the note which names it.

    Args:
        store: where they lie.
        stage: whose records they are; those of all stages if not given.

    Raises:
        UnreadableStoreError: what an experiment last used cannot be read.
    """
    for path in files(store.records / "last", 2):
        if not path.name.startswith(".tmp-") and stage in {None, path.stem} and (named := named_by_note(path, store)):
            yield named, str(store.relative(path))


def named_by_note(path: Path, store: Store) -> str:
    """The path of the record that an experiment last used, by the note of it; empty if it is gone, or not such a note.

    Raises:
        UnreadableStoreError: the note cannot be read.
    """
    if path.name.endswith(NOTES):  # the external inputs of the stage
        return ""
    try:
        return f"artifacts/records/{path.stem}/{digest_of(parse_object(read_file(path)))}.json"
    except FileNotFoundError:
        return ""
    except (UnusableFileError, ValueError) as error:
        raise unreadable(store.relative(path)) from error


def missing_last(store: Store) -> Iterator[tuple[str, str]]:
    """The path of each record that an experiment last used and that is missing, with that of the note which names it.

    Raises:
        OSError: it cannot be told whether one is missing.
        UnreadableStoreError: what an experiment last used cannot be read.
    """
    for path, note in last_used(store):
        # The note may have been replaced by now, and the record that it named have been removed by a collection.
        if is_missing(store.locate(path)) and named_by_note(store.locate(note), store) == path:
            yield path, note


def is_missing(path: Path) -> bool:
    """Whether nothing is at a path, not even a link that leads nowhere.

    Raises:
        OSError: it cannot be told.
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    return False


def require_last(store: Store) -> None:
    """Checks that each record that an experiment last used exists: one that was moved away may be put back.

    Raises:
        OSError: it cannot be told whether one exists.
        UnreadableStoreError: a record is missing, or what an experiment last used cannot be read.
    """
    for path, note in missing_last(store):
        raise UnreadableStoreError(
            f"collection refused: {path} is missing, though {note} says that it was used last, and may name files that "
            "are needed: restore it, or abandon it with `workflow check --repair`, after which a collection removes "
            "what only that record named"
        )


def foreign(path: PurePosixPath) -> ForeignStoreError:
    """The error that another version made a record or a run."""
    return ForeignStoreError(
        f"collection refused: another version of pytorch-workflow made {path}, and only that version knows which files "
        "it needs: collect with that version, or move it out of the store first"
    )


def unreadable(path: PurePosixPath, why: str = "cannot be read") -> UnreadableStoreError:
    """The error that a file which names others cannot be read or trusted."""
    return UnreadableStoreError(
        f"collection refused: {path} {why}, and may name files that are needed: restore it, or abandon it with "
        "`workflow check --repair`, after which a collection removes what it was made from; `workflow check` says what "
        "is wrong with it"
    )


def published(store: Store) -> Iterator[str]:
    """The path of every artifact that a stage has published."""
    for path, relative in artifact_files(store):
        if ARTIFACT_NAME.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            yield relative
