"""Stage `split`: the rows, divided into train, test and perhaps validation."""

from collections.abc import Mapping
from functools import partial

from tasks.caching.stage import Desk, View, stage
from tasks.caching.storage.reference import Outputs, Reference
from tasks.learning.config.experiment import Split


class SplitView(View):
    """What shapes the parts."""

    split: Split


@stage(SplitView, inputs=("dataset",), outputs=("train", "validation?", "test"), libraries=("numpy", "pyarrow"))
def split(view: SplitView, inputs: Mapping[str, Reference], desk: Desk) -> Outputs:
    """Divides the dataset, and proves that the parts are disjoint and complete."""
    from tasks.learning.data.splitting import prove_partition, split_rows
    from tasks.learning.data.tables import read_table, write_table

    rows = read_table(desk.store.path(inputs["dataset"]))
    parts = split_rows(rows, view.split)
    prove_partition(rows, parts)
    return {name: desk.publish(f"{name}.parquet", partial(write_table, part)) for name, part in parts.items()}
