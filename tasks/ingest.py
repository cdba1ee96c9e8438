"""Stage `ingest`: the dataset, read from a table in a file and put into the one form that all stages read."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

from tasks.caching.stage import StageConfig, StageContext, stage
from tasks.caching.storage.reference import Outputs, Reference
from tasks.learning.config.data import Data, is_csv
from tasks.learning.config.split import BY_COLUMN, column_apart, dividing_column
from tasks.relevance import MattersIf

if TYPE_CHECKING:
    from tasks.learning.config.data import TableData


class Imputation(StageConfig):
    """The part of the model section that says which features may be missing."""

    impute: Annotated[list[str], MattersIf(lambda model: bool(model.impute))]


class SplitColumn(StageConfig):
    """The part of the split section that says by which column the rows are divided."""

    method: Annotated[str, MattersIf(lambda split: split.method in BY_COLUMN)]
    column: Annotated[str | None, MattersIf(lambda split: split.method in BY_COLUMN)]


class IngestConfig(StageConfig):
    """What is read of the file. Where it lies does not matter: its content is in the key."""

    immaterial = frozenset({"data.path"})

    data: Data
    model: Imputation
    split: SplitColumn


def csv_file(config: IngestConfig) -> Path | None:
    """The file, which people may edit, if it is read as CSV."""
    path = table_path(config)
    return path if path is not None and is_csv(path) else None


def parquet_file(config: IngestConfig) -> Path | None:
    """Likewise, if it is read as Parquet."""
    path = table_path(config)
    return path if path is not None and not is_csv(path) else None


def table_path(config: IngestConfig) -> Path | None:
    """Where the table lies; None for other kinds of data."""
    return Path(config.data.path) if config.data.kind == "table" else None


@stage(
    IngestConfig,
    outputs=("dataset", "split_values?"),
    libraries=("numpy", "pyarrow"),
    external={"CSV table": csv_file, "Parquet table": parquet_file},  # apart, since each reads a file as another table
    takes_part=lambda config: config.data.kind == "table",
)
def ingest(config: IngestConfig, inputs: Mapping[str, Reference], context: StageContext) -> Outputs:
    """Reads the chosen columns of the table, checks every value, and reads the column by which rows are divided."""
    from tasks.learning.data.ingestion import read_dataset
    from tasks.learning.data.schema import ROW
    from tasks.learning.data.table_files import open_table
    from tasks.learning.data.tables import to_numpy, write_table
    from tasks.learning.splitting.values import read_split_values

    data, split = cast("TableData", config.data), config.split  # it takes part in no other run
    (path,) = context.external.values()
    file = open_table(path, data)
    apart = column_apart(split.method, split.column)
    dataset = read_dataset(file, data, path, config.model.impute, apart, context.notice)
    outputs = {"dataset": context.publish("dataset.parquet", partial(write_table, dataset))}
    if (column := dividing_column(split.method, split.column)) is not None:
        values = read_split_values(file, path, column, split.method, to_numpy(dataset[ROW]))
        outputs["split_values"] = context.publish("split_values.parquet", partial(write_table, values))
    return outputs
