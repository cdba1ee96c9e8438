"""The runs on disk: finding one, and the pointers to the latest."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.problems import InputError
from tasks.caching.manifest import MANIFEST, Manifest, ManifestError, manifest_digest
from tasks.caching.store import Store, replace_link
from tasks.caching.strict_json import parse_object
from tasks.caching.verification import VERIFICATION

#: The pointer to the last successful run of any experiment; NAME-latest points to that of one experiment.
LATEST = "latest"


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
            metrics = parse_object(path.read_bytes())
            require_metrics(metrics)
        except (OSError, ValueError) as error:
            raise InputError(f"run {self.folder.name} is damaged: {path} cannot be read; train again") from error
        return metrics

    @property
    def verification(self) -> dict[str, Any] | None:
        """The outcome of the last verification; None if there was none, or it cannot be read."""
        try:
            return parse_object((self.folder / VERIFICATION).read_bytes())
        except (OSError, ValueError):
            return None

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
        except OSError as error:
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
        InputError: there is none.
    """
    path = store.runs / wanted if Path(wanted).name == wanted else Path(wanted)
    if os.path.isdir(path):  # noqa: PTH112 - unlike Path.is_dir, it takes a name that is too long for one of no folder
        folder = path.resolve()
        if folder.parent == store.runs:
            return folder
        raise InputError(f"{wanted} is no run of this project, whose runs lie in {store.runs}")
    if os.path.islink(path):  # noqa: PTH114 - likewise
        raise InputError(f"{wanted} points to a run that is gone: `workflow runs` lists those that are there")
    if wanted == LATEST:
        raise InputError("there is no run yet: `workflow train` makes one")
    raise InputError(f"there is no run {wanted!r}: `workflow runs` lists them")


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


def list_runs(store: Store) -> tuple[list[RunFolder], dict[str, str]]:
    """All runs, oldest first, and those that are damaged: what is wrong, by name."""
    runs, damaged = [], {}
    for folder in sorted(path.parent for path in store.runs.glob(f"*/{MANIFEST}")):
        if folder.is_symlink():
            continue
        try:
            run = find_run(folder.name, store)
            run.metrics  # noqa: B018 (reading them shows whether they can be read)
            runs.append(run)
        except InputError as error:
            damaged[folder.name] = str(error)
    return sorted(runs, key=lambda run: (run.manifest.created, run.folder.name)), damaged


def pointers(experiment: str) -> tuple[str, str]:
    """The names of the pointers that a run of an experiment sets."""
    return LATEST, f"{experiment}-{LATEST}"


def point(pointer: str, folder: Path, store: Store) -> None:
    """Makes a pointer point to a run folder; it switches atomically."""
    link = store.runs / pointer
    if not link.is_symlink() or link.readlink() != Path(folder.name):
        replace_link(link, folder.name)
