"""A saved run, opened: its tables as pandas DataFrames, and its model to predict with."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flows.config.experiments import resolve
from flows.errors import InputError
from flows.notebook.frames import read_features
from flows.runs.folders import RunFolder, find_run, require_metrics
from tasks.caching.runs.manifest import MANIFEST, Manifest, ManifestError
from tasks.caching.runs.pointers import LATEST
from tasks.caching.runs.sums import SUMS, is_altered
from tasks.caching.runs.verification import VerificationError
from tasks.caching.storage.reference import Reference
from tasks.caching.storage.store import DamagedArtifactError, Store, UnusableFileError, project_store
from tasks.learning.data.schema import Columns
from tasks.reload import require_digests
from tasks.save import METRICS, MODEL

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn


#: What reading a run's files raises if they are not what was saved, or not what this version reads.
DAMAGE = (
    DamagedArtifactError,
    FileNotFoundError,
    ManifestError,
    UnusableFileError,
    ValueError,
    VerificationError,
)


def open_run(wanted: str | os.PathLike[str] = LATEST) -> "OpenedRun":
    """A saved run: by name, by pointer (`latest`, `line-latest`) or by the path of its folder.

    Only its manifest is read, once that has the digest in the run's list of digests.

    Raises:
        InputError: there is no such run, or its manifest is damaged.
    """
    store = project_store()
    return opened(find_run(os.fspath(wanted), store), store)


def opened(folder: RunFolder, store: Store) -> "OpenedRun":
    """A run whose manifest was read.

    Raises:
        InputError: the manifest is not the one that was saved.
    """
    run = OpenedRun(folder, store)
    with run.intact():
        if is_altered(store, run.name, MANIFEST):
            raise ManifestError(f"{MANIFEST} does not have the digest in {SUMS}")
    return run


@dataclass(frozen=True, repr=False)
class OpenedRun:
    """A saved run.

    A file is read when it is asked for, each time anew, and only after its size and its SHA-256 were found to be those
    in the manifest: a damaged one is an InputError that names it.

    Attributes:
        folder: of the run, with its manifest.
        store: that it is in.
    """

    folder: RunFolder
    store: Store

    def __repr__(self) -> str:
        return f"<run {self.name}>"

    @property
    def name(self) -> str:
        """Of the run and of its folder."""
        return self.manifest.run

    @property
    def manifest(self) -> Manifest:
        """What made the run: its experiment, stages, environment and files."""
        return self.folder.manifest

    @property
    def features(self) -> tuple[str, ...]:
        """The columns that the model reads, in its order.

        Raises:
            InputError: the run is damaged.
        """
        with self.intact():
            return columns_in(self._description()).features

    @property
    def target(self) -> str:
        """The column that the model predicts.

        Raises:
            InputError: the run is damaged.
        """
        with self.intact():
            return columns_in(self._description()).target

    @property
    def predictions(self) -> "pd.DataFrame":
        """What the model predicted for every row of every part as it was evaluated.

        Returns:
            Columns row (int64), split (text), the features, target, prediction and residual = target − prediction
            (float32), the last three in units of the target.

        Raises:
            InputError: the run is damaged.
        """
        with self.intact():
            return self._table(self.manifest.made("predictions"))

    @property
    def history(self) -> "pd.DataFrame":
        """The training, one row an epoch.

        Returns:
            Columns epoch (int64, from 0), train_loss, the losses of the held-out parts, which are NaN where they were
            not evaluated, and learning_rate (float64).

        Raises:
            InputError: the run is damaged.
        """
        with self.intact():
            return self._table(self.manifest.made("history"))

    @property
    def metrics(self) -> "pd.DataFrame":
        """The metrics, a column each, by part; NaN where a metric has no finite value.

        Raises:
            InputError: the run is damaged.
        """
        import pandas as pd

        metrics = self.metrics_by_part()
        return pd.DataFrame.from_dict(metrics, orient="index").rename_axis("split")

    def metrics_by_part(self) -> dict[str, dict[str, float | None]]:
        """The metrics by part and name.

        Raises:
            InputError: the run is damaged.
        """
        with self.intact():
            metrics = self.store.read_object(self.manifest.file(METRICS))
            require_metrics(metrics)
            return metrics

    def model(self, device: str = "cpu") -> "nn.Module":
        """The trained network, in evaluation mode. It takes raw features, and gives targets in their own units.

        Args:
            device: where it is to be: auto (cuda, else mps, else cpu), cpu, cuda, cuda:N or mps.

        Returns:
            It maps float32 of shape [rows, features] on the device, columns as in `features`, to [rows, 1].

        Raises:
            InputError: there is no such device, or the run is damaged.
        """
        from tasks.learning.models.saved_weights import load_network

        place = resolve(device)
        with self.intact():
            weights = self.manifest.file(self.manifest.checkpoint)
            description = self._description()
            require_digests(description, weights, self.manifest.made("predictions"))
            return load_network(description, self.store.read(weights), place).eval()

    def predict(self, frame: "pd.DataFrame", device: str = "cpu") -> "pd.Series":
        """What the model predicts for the rows of a DataFrame.

        The features are found by name, in whichever order; other columns, such as the target, are ignored. Values are
        checked as those of a table that is trained on.

        Args:
            frame: has at least the columns in `features`: numbers or truth values, missing only where the model fills
                them in.
            device: as for `model`.

        Returns:
            float32, named after the target and in its units, with the index of the frame.

        Raises:
            InputError: a column is missing or a value cannot be used, with all such problems; there is no such device;
                or the run is damaged.
        """
        import pandas as pd

        from tasks.learning.evaluation.predictions import predict

        with self.intact():
            description = self._description()
            columns, imputed = columns_in(description), imputed_in(description)
        inputs = read_features(frame, columns.features, imputed)
        with threads_of_torch(self.manifest.environment.threads):
            predictions = predict(self.model(device), inputs, resolve(device))
        return pd.Series(predictions, frame.index, name=columns.target)

    @contextlib.contextmanager
    def intact(self) -> Iterator[None]:
        """Surrounds reading of the run's files.

        Raises:
            InputError: one of them is damaged or missing; says what to do.
        """
        try:
            yield
        except DAMAGE as error:
            raise InputError(f"run {self.name} is damaged: {error}; train again") from error

    def _description(self) -> dict[str, Any]:
        return self.store.read_object(self.manifest.file(MODEL))

    def _table(self, reference: Reference) -> "pd.DataFrame":
        from tasks.learning.data.tables import IN_THREADS, read_table

        frame: pd.DataFrame = read_table(self.store.path(reference)).to_pandas(use_threads=IN_THREADS)
        return frame


def columns_in(description: Mapping[str, Any]) -> Columns:
    """The columns that a described model reads and predicts.

    Raises:
        ValueError: the description does not name them.
    """
    match description:
        case {"features": [str(), *_] as features, "targets": [str(target)]} if all(
            isinstance(name, str) for name in features
        ):
            return Columns(tuple(features), target)
    raise ValueError(f"{MODEL} does not name the columns of the model")


def imputed_in(description: Mapping[str, Any]) -> list[str]:
    """The features that a described model fills in where they are missing.

    Raises:
        ValueError: the description does not name them.
    """
    match description.get("imputation"):
        case None:
            return []
        case {"features": [*names]} if all(isinstance(name, str) for name in names):
            return names
    raise ValueError(f"{MODEL} does not name the features that the model fills in")


@contextlib.contextmanager
def threads_of_torch(number: int) -> Iterator[None]:
    """Has torch compute in as many threads as in training: the last bit of a sum may depend on how many share it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
