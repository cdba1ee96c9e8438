"""Finds garbage in the store: what no run that is kept descends from, and no flow that runs now uses."""

import contextlib
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tasks.caching.gc.inspection import IN_USE_SECONDS, is_older_than
from tasks.caching.key import digest_of
from tasks.caching.locking.uses import InUse, find_uses
from tasks.caching.records import ForeignRecordError, Record, UnreadableRecordError, read_record
from tasks.caching.runs.manifest import MANIFEST, ForeignManifestError, Manifest, ManifestError
from tasks.caching.runs.pointers import is_pointer
from tasks.caching.runs.sums import SUMS, is_altered
from tasks.caching.runs.verification import VERIFICATION
from tasks.caching.storage.contents import ARTIFACT_NAME, artifact_files, files, saved_runs, temporaries
from tasks.caching.storage.layout import LayoutError, require_folders
from tasks.caching.storage.ownership import require_own_data, require_sole_owner
from tasks.caching.storage.store import Store, UnusableFileError, read_file
from tasks.caching.storage.strict_json import parse_object
from tasks.limits import RUN

#: Seconds after which a killed training counts as given up, and its resumable states may go: 30 days.
GIVEN_UP_SECONDS = 30 * 24 * 3600.0


#: Why a run is kept that has passed a verification.
VERIFIED = "verified"


class CollectionRefusedError(Exception):
    """Nothing may be removed: it is not known what all the runs and records of the store need."""


class ForeignStoreError(CollectionRefusedError):
    """Another version of this project shares the store, and only that version knows what its runs descend from."""


class UnreadableStoreError(CollectionRefusedError):
    """A run, a record or a file beside them cannot be read, so that what it needs is not known."""


@dataclass(frozen=True)
class Keep:
    """Which runs are kept, beside those that a pointer such as `latest` points to.

    Attributes:
        last: newest runs of each experiment.
        pinned: names of runs.
        verified: whether every run that has passed a verification is kept.
    """

    last: int = 10
    pinned: frozenset[str] = frozenset()
    verified: bool = True


@dataclass
class Garbage:
    """What a collection would remove, or has removed: each thing's bytes by its path relative to the root.

    Attributes:
        runs: folders.
        records: of stages that no kept run went through.
        artifacts: that nothing names once those are gone.
        states: of trainings that were killed long ago.
        left_over: temporaries of runs that were killed.
        kept: for each run that stays, why.
        keep: what it was asked to keep.
    """

    runs: dict[str, int] = field(default_factory=dict)
    records: dict[str, int] = field(default_factory=dict)
    artifacts: dict[str, int] = field(default_factory=dict)
    states: dict[str, int] = field(default_factory=dict)
    left_over: dict[str, int] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    keep: Keep = Keep()

    @property
    def by_kind(self) -> dict[str, dict[str, int]]:
        """What goes, by kind."""
        return {
            "runs": self.runs,
            "records": self.records,
            "artifacts": self.artifacts,
            "states": self.states,
            "left over": self.left_over,
        }


def find_garbage(store: Store, keep: Keep) -> Garbage:
    """What may go; removes nothing.

    Raises:
        ForeignStoreError: another version of this project has made a record or a run of the store.
        UnreadableStoreError: something that names artifacts cannot be read, or another store may name them.
    """
    try:
        require_folders(store)
        require_own_data(store)
        require_sole_owner(store)
    except LayoutError as error:
        raise UnreadableStoreError(f"collection refused: {error}") from error
    uses, manifests, records = find_uses(store), dict(read_manifests(store)), dict(read_records(store))
    require_together(manifests, records, store)
    require_named(manifests, store)
    require_saved(manifests, store)
    require_runs(manifests, records, store)
    old = is_older_than(min(time.time() - IN_USE_SECONDS, uses.since))
    kept = reasons_to_keep(manifests, store, keep, uses, old)
    wanted = {*records_of(manifests[run] for run in kept), *last_used(store), *uses.paths}
    rest = {path for path in records if path in wanted or not old(store.locate(path))}
    named = artifacts_of(records[path] for path in rest)
    # The record of a save names its run: neither goes without the other.
    kept |= dict.fromkeys(runs_among(named) & manifests.keys() - kept.keys(), "a record that stays names it")
    named |= artifacts_of(manifests[run] for run in kept)
    return Garbage(
        runs=sizes(store, (f"artifacts/runs/{run}" for run in manifests if run not in kept)),
        records=sizes(store, (path for path in records if path not in rest)),
        artifacts=sizes(store, (path for path in published(store) if path not in named and old(store.locate(path)))),
        states=sizes(store, abandoned_states(store)),
        left_over=sizes(store, (path for path in temporaries(store) if old(store.locate(path)))),
        kept=dict(sorted(kept.items())),
        keep=keep,
    )


def reasons_to_keep(
    manifests: Mapping[str, Manifest], store: Store, keep: Keep, uses: InUse, old: Callable[[Path], bool]
) -> dict[str, str]:
    """Why each run stays that does, in words."""
    newest, pointed = newest_runs(manifests, keep.last), pointed_to(store)
    reasons: dict[str, Callable[[str], bool]] = {
        "pinned": lambda run: run in keep.pinned,
        "a pointer such as latest points to it": lambda run: run in pointed,
        "among the newest of its experiment": lambda run: run in newest,
        VERIFIED: lambda run: keep.verified and passed_verification(run, store),
        "in use": lambda run: f"artifacts/runs/{run}" in uses.paths,
        "just saved": lambda run: not old(store.runs / run),
    }
    kept = ((run, next((why for why, holds in reasons.items() if holds(run)), "")) for run in manifests)
    return {run: why for run, why in kept if why}


def is_wanted_now(run: str, store: Store, keep: Keep) -> bool:
    """Whether a run has come to be needed since garbage was found: it is used, pointed to or verified now.

    Raises:
        UnreadableStoreError: the outcome of a verification cannot be read.
    """
    if f"artifacts/runs/{run}" in find_uses(store).paths or run in pointed_to(store):
        return True
    return keep.verified and passed_verification(run, store)


def newest_runs(manifests: Mapping[str, Manifest], last: int) -> set[str]:
    """The names of the newest runs of each experiment, as many as asked for."""
    experiments: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for run, manifest in manifests.items():
        experiments[str(manifest.experiment.get("name"))].append((manifest.created, run))
    return {run for runs in experiments.values() for _, run in sorted(runs)[-last:]}


def records_of(manifests: Iterable[Manifest]) -> set[str]:
    """The paths of the records that runs went through."""
    stages = (stage for manifest in manifests for stage in manifest.stages)
    return {f"artifacts/records/{stage.name}/{stage.key}.json" for stage in stages}


def artifacts_of(sources: Iterable[Record | Manifest]) -> set[str]:
    """The paths of all artifacts that records and runs name."""
    named: set[str] = set()
    for source in sources:
        if isinstance(source, Record):
            named |= {reference.path for reference in source.outputs.values()}
        else:
            named |= {entry.path for entry in source.files.values()}
            named |= {entry.path for stage in source.stages for entry in stage.outputs.values()}
    return named


def named_by_records(store: Store) -> set[str]:
    """The paths of all artifacts that the records name that are there now."""
    return artifacts_of(record for _, record in read_records(store))


def runs_among(paths: Iterable[str]) -> set[str]:
    """The names of the runs whose files are among some paths."""
    parts = (PurePosixPath(path).parts for path in paths)
    return {names[2] for names in parts if names[:2] == ("artifacts", "runs") and len(names) > 3}


def read_manifests(store: Store) -> Iterator[tuple[str, Manifest]]:
    """Each run's name with its manifest.

    Raises:
        ForeignStoreError: another version of this project has made one of them.
        UnreadableStoreError: one of them is missing or damaged, cannot be read now, or is behind a link.
    """
    for folder in sorted(store.runs.iterdir()) if store.runs.is_dir() else ():
        if not is_run(folder) or (folder.is_dir() and not any(folder.iterdir())):
            continue
        if folder.is_symlink():
            raise unreadable(store.relative(folder), "is a link")
        try:
            manifest = Manifest.read(folder)
            if is_altered(store, folder.name, MANIFEST):
                raise unreadable(store.relative(folder / MANIFEST), f"is not as {SUMS} beside it says")
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
    """Checks that artifacts/ is there with its records, on which all that names tables lies: its disk may be away.

    Raises:
        UnreadableStoreError: there are tables, and nothing that could name one; or there are runs, and no record.
    """
    if manifests and not records:
        raise UnreadableStoreError(
            "collection refused: artifacts/records has no record, though there are runs: bring back what it had, or "
            "train once if that is gone for good"
        )
    if not (manifests or records or saved_runs(store)) and any(path.startswith("data/") for path in published(store)):
        raise UnreadableStoreError(
            "collection refused: artifacts/ has no run and no record, though data/ has tables: bring back what it had, "
            "such as its disk, or remove data/ yourself if that is gone for good"
        )


def is_run(folder: Path) -> bool:
    """Whether something beside the runs may be one, or lead to one: it is named as runs are."""
    named = re.fullmatch(RUN, folder.name) is not None and not is_pointer(folder.name)
    return named and (folder.is_dir() or folder.is_symlink())


def require_named(manifests: Mapping[str, Manifest], store: Store) -> None:
    """Checks that no run was given another name: what is kept is kept by its own.

    Raises:
        UnreadableStoreError: a folder has the manifest of a run that is not there.
    """
    for path in store.runs.glob(f"[!.]*/{MANIFEST}"):
        if is_run(path.parent) or path.parent.is_symlink():
            continue
        with contextlib.suppress(OSError, UnusableFileError, ValueError):
            run = parse_object(read_file(path)).get("run")
            if isinstance(run, str) and run not in manifests:
                raise unreadable(store.relative(path.parent), f"is the run {run!r} under another name")


def read_records(store: Store) -> Iterator[tuple[str, Record]]:
    """Each record's path, relative to the root, with the record.

    Raises:
        ForeignStoreError: another version of this project has made one of them.
        UnreadableStoreError: one of them is damaged, or cannot be read now.
    """
    for path in files(store.records):
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
    """Checks that each run that was saved is there: one that was moved away may be put back.

    Raises:
        UnreadableStoreError: a run is not there.
    """
    for run in saved_runs(store) - manifests.keys():
        # A run may have been saved after the manifests were read, or another collection have removed it.
        if not (store.runs / run / MANIFEST).exists() and (store.saved / run).exists():
            raise unreadable(PurePosixPath("artifacts/runs", run, MANIFEST))


def require_runs(manifests: Mapping[str, Manifest], records: Mapping[str, Record], store: Store) -> None:
    """Checks that each run that a record names is there: one that was moved away may be put back.

    Raises:
        UnreadableStoreError: a run is not there.
    """
    for path, record in records.items():
        for run in runs_among(artifacts_of([record])) - manifests.keys():
            # A run may have been saved after the manifests were read, or another collection have removed both.
            saved = store.runs / run
            if (saved.is_symlink() or not (saved / MANIFEST).exists()) and store.locate(path).exists():
                raise unreadable(PurePosixPath("artifacts/runs", run, MANIFEST))


def foreign(path: PurePosixPath) -> ForeignStoreError:
    """The error that another version has made a record or a run."""
    return ForeignStoreError(
        f"collection refused: another version of pytorch-workflow made {path} and only that version can tell "
        "which files it needs: collect with that version, or move it out of the store first"
    )


def unreadable(path: PurePosixPath, why: str = "cannot be read") -> UnreadableStoreError:
    """The error that a file which names others cannot be read or believed."""
    return UnreadableStoreError(
        f"collection refused: {path} {why}, and may name files that are needed: restore it, or give it up with "
        "`workflow check --repair`, after which a collection removes what it was made of; `workflow check` says what "
        "is wrong with it"
    )


def last_used(store: Store) -> Iterator[str]:
    """The records that each experiment used last: without them its next run would begin from nothing.

    Raises:
        UnreadableStoreError: what an experiment used last cannot be read.
    """
    for path in files(store.records / "last"):
        if path.name.startswith(".tmp-"):
            continue
        try:
            yield f"artifacts/records/{path.stem}/{digest_of(parse_object(read_file(path)))}.json"
        except FileNotFoundError:
            continue
        except (UnusableFileError, ValueError) as error:
            raise unreadable(store.relative(path)) from error


def abandoned_states(store: Store) -> Iterator[str]:
    """Resumable states of trainings that were killed so long ago that nobody will go on with them."""
    given_up = is_older_than(time.time() - GIVEN_UP_SECONDS)
    for path in files(store.artifacts / "states"):
        if given_up(path) and not path.is_symlink():
            yield str(store.relative(path))


def published(store: Store) -> Iterator[str]:
    """The path of every artifact that a stage has published."""
    for path, relative in artifact_files(store):
        if ARTIFACT_NAME.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            yield relative


def pointed_to(store: Store) -> set[str]:
    """The names of the runs that `latest` and its like point to."""
    links = store.runs.iterdir() if store.runs.is_dir() else ()
    return {link.readlink().name for link in links if link.is_symlink()}


def passed_verification(run: str, store: Store) -> bool:
    """Whether a run has ever passed a verification: what fails later may be the reading.

    Raises:
        UnreadableStoreError: the outcome cannot be read.
    """
    try:
        if store.was_verified(run):
            return True
    except UnusableFileError as error:
        raise unreadable(store.relative(store.saved / run)) from error
    path = store.runs / run / VERIFICATION
    try:
        outcome = parse_object(read_file(path))
    except FileNotFoundError:
        return False
    except (UnusableFileError, ValueError) as error:
        raise unreadable(store.relative(path)) from error
    if not isinstance(outcome.get("passed"), bool):
        raise unreadable(store.relative(path), "does not say whether the run passed")
    return outcome["passed"] or outcome.get("passed_once") is True


def sizes(store: Store, paths: Iterable[str]) -> dict[str, int]:
    """The bytes that lie at each path, in a folder all together."""
    return {path: size_of(store.locate(path)) for path in paths}


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; 0 if it is gone."""
    inside = files(path) if path.is_dir() and not path.is_symlink() else (path,)
    total = 0
    for file in inside:
        with contextlib.suppress(OSError):
            total += file.lstat().st_size
    return total
