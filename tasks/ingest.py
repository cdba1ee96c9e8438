"""Stage `ingest`: the dataset, read from a table in a file and put into the one form that all stages read."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

from tasks.caching.stage import StageConfig, StageContext, stage
from tasks.caching.storage.reference import Outputs, Reference
from tasks.learning.config.data import Data
from tasks.relevance import MattersIf

if TYPE_CHECKING:
    from tasks.learning.config.data import TableData


class Imputation(StageConfig):
    """The part of the model section that says which features may be missing."""

    impute: Annotated[list[str], MattersIf(lambda model: bool(model.impute))]


class IngestConfig(StageConfig):
    """What is read of the file. Where it lies does not matter: its content is in the key."""

    immaterial = frozenset({"data.path"})

    data: Data
    model: Imputation


def table_file(config: IngestConfig) -> Path | None:
    """The file, which people may edit; none for other kinds of data."""
    return Path(config.data.path) if config.data.kind == "table" else None


@stage(
    IngestConfig,
    outputs=("dataset",),
    libraries=("numpy", "pyarrow"),
    external={"table": table_file},
    takes_part=lambda config: config.data.kind == "table",
)
def ingest(config: IngestConfig, inputs: Mapping[str, Reference], context: StageContext) -> Outputs:
    """Reads the chosen columns of the table, and checks every value."""
    from tasks.learning.data.ingestion import ingest_table
    from tasks.learning.data.tables import write_table

    data = cast("TableData", config.data)  # it takes part in no other run
    table = ingest_table(context.external["table"], data, config.model.impute, context.notice)
    return {"dataset": context.publish("dataset.parquet", partial(write_table, table))}
