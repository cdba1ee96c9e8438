"""Stage `generate`: the dataset, as one table."""

from collections.abc import Mapping
from functools import partial

from tasks.caching.stage import StageConfig, StageContext, stage
from tasks.caching.storage.reference import Outputs, Reference
from tasks.learning.config.experiment import Data


class GenerateConfig(StageConfig):
    """What shapes the dataset."""

    data: Data


@stage(GenerateConfig, outputs=("dataset",), libraries=("numpy", "pyarrow"))
def generate(config: GenerateConfig, inputs: Mapping[str, Reference], context: StageContext) -> Outputs:
    """Makes the dataset: columns row (int64), x and y (float32)."""
    from tasks.learning.data.lines import line_table
    from tasks.learning.data.tables import write_table

    return {"dataset": context.publish("dataset.parquet", partial(write_table, line_table(config.data)))}
