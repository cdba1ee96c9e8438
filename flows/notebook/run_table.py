"""The saved runs side by side, as a pandas DataFrame."""

import warnings
from typing import TYPE_CHECKING, Any

from flows.errors import InputError
from flows.notebook.opened_run import OpenedRun, opened
from flows.runs.folders import find_run, run_folders
from flows.runs.history import rejections_of
from flows.runs.layout import require_layout
from flows.runs.wording import counted
from tasks.caching.key import flatten
from tasks.caching.runs.manifest import ManifestError
from tasks.caching.storage.store import project_store

if TYPE_CHECKING:
    import pandas as pd

#: The columns that come before settings and metrics, which differ from experiment to experiment.
FIRST = ("experiment", "created", "device", "verified", "accepted", "digest")


def runs() -> "pd.DataFrame":
    """All saved runs, oldest first, indexed by name. Damaged ones are left out, which a warning says.

    Returns:
        Columns experiment, created (time, in UTC), device, verified (truth value; missing if it was not verified),
        accepted (likewise; missing if the experiment demands nothing), digest (SHA-256 of the manifest); each setting,
        such as training.learning_rate (missing where an experiment has none); and each metric of the test rows, such as
        test.mae.

    Raises:
        InputError: the folders of the store are not its own.
    """
    import pandas as pd

    found, damaged = read_rows()
    if damaged:
        lines = (f"{name}: {why}" for name, why in damaged.items())
        warnings.warn("\n  ".join((f"{counted(len(damaged), 'runs')} left out:", *lines)), stacklevel=2)
    columns = dict.fromkeys((*FIRST, *(name for each in found.values() for name in each)))
    frame = pd.DataFrame([*found.values()], pd.Index([*found], name="run", dtype="str"), [*columns])
    frame["created"] = pd.to_datetime(frame["created"], utc=True)
    return frame.astype({"verified": "boolean", "accepted": "boolean"}).sort_values("created", kind="stable")


def read_rows() -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """The row of each run by its name, and those that are damaged: what is wrong, by name.

    Raises:
        InputError: the folders of the store are not its own.
    """
    store = project_store()
    require_layout(store)
    found, damaged = {}, {}
    for folder in run_folders(store):
        try:
            found[folder.name] = row(opened(find_run(folder.name, store), store))
        except (InputError, ManifestError) as error:
            damaged[folder.name] = str(error)
    return found, damaged


def row(run: OpenedRun) -> dict[str, Any]:
    """A run with its settings and the metrics of its test rows.

    Raises:
        InputError: it is damaged.
        ManifestError: its manifest lacks a stage or an artifact.
    """
    manifest, metrics = run.manifest, run.metrics_by_part()
    settings = flatten(manifest.experiment)
    rejections = rejections_of(run.folder, run.store)
    return {
        "experiment": settings.pop("name"),
        "created": manifest.created,
        "device": manifest.environment.device,
        "verified": run.folder.verified,
        "accepted": None if rejections is None else not rejections,
        "digest": run.folder.digest,
        **{name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()},
        **{f"test.{name}": value for name, value in metrics["test"].items()},
    }
