"""Stage `generate`: the dataset, as one table."""

from collections.abc import Mapping
from functools import partial

from tasks.caching.stage import Desk, View, stage
from tasks.caching.storage.reference import Outputs, Reference
from tasks.learning.config.experiment import Data


class GenerateView(View):
    """What shapes the dataset."""

    data: Data


@stage(GenerateView, outputs=("dataset",), libraries=("numpy", "pyarrow"))
def generate(view: GenerateView, inputs: Mapping[str, Reference], desk: Desk) -> Outputs:
    """Makes the dataset: columns row (int64), x and y (float32)."""
    from tasks.learning.data.lines import line_table
    from tasks.learning.data.tables import write_table

    return {"dataset": desk.publish("dataset.parquet", partial(write_table, line_table(view.data)))}
