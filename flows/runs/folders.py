"""The runs on disk: finding one, and the pointers to the latest."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.errors import InputError
from flows.runs.layout import require_layout
from tasks.caching.runs.manifest import MANIFEST, Manifest, ManifestError, manifest_digest
from tasks.caching.runs.pointers import LATEST, PointerError, is_pointer, require_link
from tasks.caching.runs.verification import VERIFICATION
from tasks.caching.storage.store import Store, UnusableFileError, read_file
from tasks.caching.storage.strict_json import parse_object
from tasks.limits import RUN


@dataclass(frozen=True)
class RunFolder:
    """A run on disk.

    Attributes:
        folder: absolute path.
        manifest: what made it.
    """

    folder: Path
    manifest: Manifest

    @property
    def metrics(self) -> dict[str, Any]:
        """The metrics by part, as evaluate computed them.

        Raises:
            InputError: they are missing or damaged.
        """
        path = self.folder / "metrics.json"
        try:
            metrics = parse_object(read_file(path))
            require_metrics(metrics)
        except (OSError, UnusableFileError, ValueError) as error:
            raise InputError(f"run {self.folder.name} is damaged: {path} cannot be read; train again") from error
        return metrics

    @property
    def verification(self) -> dict[str, Any] | None:
        """The outcome of the last verification; None if there was none, or it cannot be read."""
        return read_verification(self.folder)

    @property
    def verified(self) -> bool | None:
        """Whether it passed its last verification; None if there was none."""
        verification = self.verification
        return None if verification is None else verification.get("passed") is True

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest, which names the digests of the other files: `workflow verify --expect` takes it.

        Raises:
            InputError: the manifest cannot be read any more.
        """
        try:
            return manifest_digest(self.folder)
        except (OSError, UnusableFileError) as error:
            raise InputError(f"run {self.folder.name} is damaged: {error}") from error

    def summary(self) -> dict[str, Any]:
        """The run in short, as JSON."""
        return {
            "run": self.folder.name,
            "experiment": self.manifest.experiment["name"],
            "created": self.manifest.created,
            "device": self.manifest.environment.device,
            "folder": str(self.folder),
            "checkpoint": str(self.folder / self.manifest.checkpoint),
            "report": str(self.folder / "report.html"),
            "digest": self.digest,
            "metrics": self.metrics,
            "verified": self.verified,
        }


def read_verification(folder: Path) -> dict[str, Any] | None:
    """The outcome of the last verification of the run in a folder; None if there was none, or it cannot be read."""
    try:
        return parse_object(read_file(folder / VERIFICATION))
    except (OSError, UnusableFileError, ValueError):
        return None


def require_metrics(metrics: Mapping[str, Any]) -> None:
    """Shows that metrics are numbers, by part and name, and that those are among them which every run has.

    Raises:
        ValueError: they have another form.
    """
    for part, values in {"test": None, **metrics}.items():
        if not (isinstance(values, dict) and {"loss", "mae", "r2"} <= values.keys()):
            raise ValueError(f"it has no metrics of the {part} rows")
        if not all(isinstance(value, int | float | None) for value in values.values()):
            raise ValueError(f"a metric of the {part} rows is no number")


def find_folder(wanted: str, store: Store) -> Path:
    """The folder of a run: by name, by pointer (`latest`, `line-latest`) or by path.

    Raises:
        InputError: there is none, or a folder of the store is a link.
    """
    require_layout(store)
    path = store.runs / wanted if Path(wanted).name == wanted else Path(wanted)
    if is_pointer(wanted):
        require_pointer(store.runs / wanted)
    if os.path.isdir(path):  # noqa: PTH112 - unlike Path.is_dir, it takes a name that is too long for one of no folder
        folder = path.resolve()
        if folder.parent != store.runs:
            raise InputError(f"{wanted} is no run of this project, whose runs lie in {store.runs}")
        if is_pointer(folder.name):
            require_pointer(folder)
        if not re.fullmatch(RUN, folder.name):
            raise InputError(f"{folder.name!r} in {store.runs} is no run: none has such a name")
        return folder
    if os.path.islink(path):  # noqa: PTH114 - likewise
        raise InputError(f"{wanted} points to a run that is gone: `workflow runs` lists those that are there")
    if wanted == LATEST:
        raise InputError("there is no run yet: `workflow train` makes one")
    raise InputError(f"there is no run {wanted!r}: `workflow runs` lists them")


def require_pointer(path: Path) -> None:
    """Checks that a path is free or taken by a pointer.

    Raises:
        InputError: a file or a folder is in the way; the message says what to do.
    """
    try:
        require_link(path)
    except PointerError as error:
        raise InputError(str(error)) from error


def find_run(wanted: str, store: Store) -> RunFolder:
    """A run, as `find_folder` finds it, with its manifest.

    Raises:
        InputError: there is none, or its manifest cannot be read.
    """
    folder = find_folder(wanted, store)
    try:
        return RunFolder(folder, Manifest.read(folder))
    except ManifestError as error:
        raise InputError(str(error)) from error


def run_folders(store: Store) -> list[Path]:
    """The folders of all runs, damaged ones included, by name."""
    return sorted(path.parent for path in store.runs.glob(f"*/{MANIFEST}") if not path.parent.is_symlink())


def list_runs(store: Store) -> tuple[list[RunFolder], dict[str, str]]:
    """All runs, oldest first, and those that are damaged: what is wrong, by name."""
    runs, damaged = [], {}
    for folder in run_folders(store):
        try:
            run = find_run(folder.name, store)
            run.metrics  # noqa: B018 (reading them shows whether they can be read)
            runs.append(run)
        except InputError as error:
            damaged[folder.name] = str(error)
    return sorted(runs, key=lambda run: (run.manifest.created, run.folder.name)), damaged
