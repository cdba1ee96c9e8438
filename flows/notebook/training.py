"""Training from a notebook, on a DataFrame if one is given."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from flows.config.experiments import load_experiment
from flows.errors import InputError, list_problems
from flows.notebook.frame_table import read_frame
from flows.notebook.opened_run import OpenedRun, open_run
from flows.runtime.session import prefect_session
from tasks.caching.gc.uses import store_in_use
from tasks.caching.storage.store import Store, project_store
from tasks.learning.config.data import TableData
from tasks.learning.config.experiment import Experiment

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

#: The folder of the store for DataFrames that were trained on. A run names its own in `data.path`, by which a
#: collection and a check know it.
FOLDER = "frames"


def train(
    experiment: str | Experiment | Mapping[str, Any],
    data: "pd.DataFrame | None" = None,
    *,
    refresh: Sequence[str] = (),
) -> OpenedRun:
    """Trains as `workflow train` does; what has not changed is reused.

    A DataFrame is checked, and the columns that are chosen of it are written to the store under the digest of their
    content, as a table to be read by the stage `ingest`: the same values are not trained on twice.

    Args:
        experiment: a preset's name, the path of a TOML file, an experiment, or settings as in a file, in which the
            kind of the data and its path can be left out if a DataFrame is given.
        data: takes the place of the file of a table.
        refresh: stages to run even if cached; all stands for every one.

    Returns:
        The run, opened.

    Raises:
        InputError: the experiment is not valid, or the DataFrame cannot be used, with all problems.
        StageError: a stage failed.
    """
    asked_for = as_experiment(experiment, on_frame=data is not None)
    rows = None if data is None else read_frame(data, table_of(asked_for), asked_for.model.impute, asked_for.split)
    store = project_store()
    with prefect_session(), store_in_use(store):
        from flows.orchestration import train as train_flow

        on_rows = asked_for if rows is None else with_rows(asked_for, rows, store)
        return open_run(str(train_flow(on_rows, refresh=list(refresh))))


def as_experiment(given: str | Experiment | Mapping[str, Any], *, on_frame: bool) -> Experiment:
    """An experiment, however it is given; see `train`.

    Raises:
        InputError: it is not valid; with all problems in one message.
    """
    if isinstance(given, Experiment):
        return given
    if isinstance(given, str):
        return load_experiment(given)
    data = {"kind": "table", "path": f"{FOLDER}.parquet"} if on_frame else {}
    settings = {**given, "data": {**data, **given.get("data", {})}}
    try:
        return Experiment.model_validate(settings)
    except ValidationError as error:
        raise list_problems(error, "what was given") from error


def table_of(experiment: Experiment) -> TableData:
    """What an experiment chooses of a table.

    Raises:
        InputError: it is about no table.
    """
    if not isinstance(experiment.data, TableData):
        raise InputError(
            f"a DataFrame takes the place of a table, and the experiment has data.kind {experiment.data.kind}: "
            "set data.kind to table and data.target to a column"
        )
    return experiment.data


def with_rows(experiment: Experiment, rows: "pa.Table", store: Store) -> Experiment:
    """The experiment on rows, which are published; they hold what it chooses, and nothing that it leaves out."""
    from tasks.learning.data.tables import write_table

    file = store.publish(FOLDER, f"{experiment.name}.parquet", partial(write_table, rows))
    chosen = table_of(experiment)
    behind_the_target = rows.column_names[rows.column_names.index(chosen.target) + 1 :]
    data = chosen.model_copy(update={"path": str(store.root / file.path), "exclude": behind_the_target})
    return experiment.model_copy(update={"data": data})
