"""Finds garbage in the store: what no kept run was made from, and no running flow uses."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tasks.caching.gc.inspection import IN_USE_SECONDS, is_older_than
from tasks.caching.gc.inventory import (
    UnreadableStoreError,
    artifacts_of,
    last_used,
    published,
    read_manifests,
    read_records,
    require_last,
    require_named,
    require_runs,
    require_saved,
    require_together,
    runs_among,
    unreadable,
)
from tasks.caching.gc.uses import InUse, find_uses
from tasks.caching.runs.manifest import Manifest
from tasks.caching.runs.verification import VERIFICATION
from tasks.caching.storage.contents import files, temporaries
from tasks.caching.storage.layout import LayoutError, require_folders
from tasks.caching.storage.ownership import require_own_data, require_sole_owner
from tasks.caching.storage.store import Store, UnusableFileError, read_file
from tasks.caching.storage.strict_json import parse_object

#: Seconds after which a killed stage counts as abandoned, and its stage checkpoints are garbage: 30 days.
ABANDONED_SECONDS = 30 * 24 * 3600.0


#: The reason for which a run is kept that has passed a verification.
VERIFIED = "verified"


@dataclass(frozen=True)
class Keep:
    """Which runs are kept, in addition to those that a pointer such as `latest` points to.

    Attributes:
        last: how many of the newest runs of each experiment.
        pinned: names of runs.
        verified: whether every run that has passed a verification is kept.
    """

    last: int = 10
    pinned: frozenset[str] = frozenset()
    verified: bool = True


@dataclass
class Garbage:
    """What a collection would remove, or has removed: the bytes of each item by its path relative to the root.

    Attributes:
        runs: folders.
        records: of stages that no kept run went through.
        artifacts: that nothing names once those are gone.
        stage_checkpoints: of stages that were killed long ago.
        left_over: temporary files of runs that were killed.
        kept: the reason why each other run stays.
        keep: which runs to keep, as requested.
    """

    runs: dict[str, int] = field(default_factory=dict)
    records: dict[str, int] = field(default_factory=dict)
    artifacts: dict[str, int] = field(default_factory=dict)
    stage_checkpoints: dict[str, int] = field(default_factory=dict)
    left_over: dict[str, int] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    keep: Keep = Keep()

    @property
    def by_kind(self) -> dict[str, dict[str, int]]:
        """The items by kind."""
        return {
            "runs": self.runs,
            "records": self.records,
            "artifacts": self.artifacts,
            "states": self.stage_checkpoints,
            "left over": self.left_over,
        }


def find_garbage(store: Store, keep: Keep) -> Garbage:
    """Finds what can be removed; removes nothing.

    Raises:
        ForeignStoreError: another version of this project has made a record or a run of the store.
        UnreadableStoreError: a file that names artifacts cannot be read, or another store may name some.
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
    require_last(store)
    old = is_older_than(min(time.time() - IN_USE_SECONDS, uses.since))
    kept = reasons_to_keep(manifests, store, keep, uses, old)
    wanted = {*records_of(manifests[run] for run in kept), *dict(last_used(store)), *uses.paths}
    rest = {path for path in records if path in wanted or not old(store.locate(path))}
    named = artifacts_of(records[path] for path in rest)
    # The record of stage save names its run: neither is removed without the other.
    kept |= dict.fromkeys(runs_among(named) & manifests.keys() - kept.keys(), "a record that stays names it")
    named |= artifacts_of(manifests[run] for run in kept)
    return Garbage(
        runs=sizes(store, (f"artifacts/runs/{run}" for run in manifests if run not in kept)),
        records=sizes(store, (path for path in records if path not in rest)),
        artifacts=sizes(store, (path for path in published(store) if path not in named and old(store.locate(path)))),
        stage_checkpoints=sizes(store, abandoned_stage_checkpoints(store)),
        left_over=sizes(store, (path for path in temporaries(store) if old(store.locate(path)))),
        kept=dict(sorted(kept.items())),
        keep=keep,
    )


def reasons_to_keep(
    manifests: Mapping[str, Manifest], store: Store, keep: Keep, uses: InUse, old: Callable[[Path], bool]
) -> dict[str, str]:
    """The reason why each kept run stays."""
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
    """Whether a run has come into use since garbage was found: it is used, pointed to or verified now.

    Raises:
        UnreadableStoreError: the outcome of a verification cannot be read.
    """
    if f"artifacts/runs/{run}" in find_uses(store).paths or run in pointed_to(store):
        return True
    return keep.verified and passed_verification(run, store)


def newest_runs(manifests: Mapping[str, Manifest], last: int) -> set[str]:
    """The names of the `last` newest runs of each experiment."""
    experiments: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for run, manifest in manifests.items():
        experiments[str(manifest.experiment.get("name"))].append((manifest.created, run))
    return {run for runs in experiments.values() for _, run in sorted(runs)[-last:]}


def records_of(manifests: Iterable[Manifest]) -> set[str]:
    """The paths of the records of the stages of runs."""
    stages = (stage for manifest in manifests for stage in manifest.stages)
    return {f"artifacts/records/{stage.name}/{stage.key}.json" for stage in stages}


def named_by_records(store: Store) -> set[str]:
    """The paths of all artifacts that the present records name."""
    return artifacts_of(record for _, record in read_records(store))


def abandoned_stage_checkpoints(store: Store) -> Iterator[str]:
    """Stage checkpoints of those that were killed so long ago that they will hardly be resumed."""
    is_abandoned = is_older_than(time.time() - ABANDONED_SECONDS)
    for path in files(store.artifacts / "states"):
        if is_abandoned(path) and not path.is_symlink():
            yield str(store.relative(path))


def pointed_to(store: Store) -> set[str]:
    """The names of the runs that `latest` and its like point to."""
    links = store.runs.iterdir() if store.runs.is_dir() else ()
    return {link.readlink().name for link in links if link.is_symlink()}


def passed_verification(run: str, store: Store) -> bool:
    """Whether a run has ever passed a verification: what fails later may be the disk.

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
    """The size of each path in bytes; of a folder, that of all its files."""
    return {path: size_of(store.locate(path)) for path in paths}


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; 0 if it is gone."""
    inside = files(path) if path.is_dir() and not path.is_symlink() else (path,)
    total = 0
    for file in inside:
        with contextlib.suppress(OSError):
            total += file.lstat().st_size
    return total
