"""Stage `generate`: the dataset, as one table."""

from collections.abc import Mapping
from functools import partial

from tasks.caching.stage import StageConfig, StageContext, stage
from tasks.caching.storage.reference import Outputs, Reference
from tasks.learning.config.data import Data


class GenerateConfig(StageConfig):
    """What shapes the dataset."""

    data: Data


@stage(
    GenerateConfig,
    outputs=("dataset",),
    libraries=("numpy", "pyarrow"),
    takes_part=lambda config: config.data.kind != "table",
)
def generate(config: GenerateConfig, inputs: Mapping[str, Reference], context: StageContext) -> Outputs:
    """Makes the dataset."""
    from tasks.learning.data.sources import make_table
    from tasks.learning.data.tables import write_table

    return {"dataset": context.publish("dataset.parquet", partial(write_table, make_table(config.data)))}
