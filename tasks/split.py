"""Stage `split`: the rows, divided into train, test and perhaps validation."""

from collections.abc import Mapping
from functools import partial

from tasks.caching.stage import StageConfig, StageContext, stage
from tasks.caching.storage.reference import Outputs, Reference
from tasks.learning.config.split import Split


class SplitConfig(StageConfig):
    """What shapes the parts."""

    split: Split


@stage(SplitConfig, inputs=("dataset",), outputs=("train", "validation?", "test"), libraries=("numpy", "pyarrow"))
def split(config: SplitConfig, inputs: Mapping[str, Reference], context: StageContext) -> Outputs:
    """Divides the dataset, and proves that the parts are disjoint and complete."""
    from tasks.learning.data.splitting import prove_partition, split_rows
    from tasks.learning.data.tables import read_table, write_table

    rows = read_table(context.store.path(inputs["dataset"]))
    parts = split_rows(rows, config.split)
    prove_partition(rows, parts)
    return {name: context.publish(f"{name}.parquet", partial(write_table, part)) for name, part in parts.items()}
