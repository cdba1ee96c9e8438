"""Stage `split`: the rows, divided into train, test and perhaps validation."""

import json
from collections.abc import Mapping
from functools import partial

from tasks.caching.stage import StageConfig, StageContext, stage
from tasks.caching.storage.reference import Outputs, Reference
from tasks.learning.config.split import Split

#: The file of a run folder that says how the rows were divided, and what was proved of the parts.
PROOF = "split.json"


class Source(StageConfig):
    """The part of the data section that says what the rows are of."""

    kind: str


class SplitConfig(StageConfig):
    """What shapes the parts."""

    data: Source
    split: Split


@stage(
    SplitConfig,
    inputs=("dataset", "split_values?"),
    outputs=("train", "validation?", "test", "proof"),
    libraries=("numpy", "pyarrow"),
    run_files={"proof": PROOF},
)
def split(config: SplitConfig, inputs: Mapping[str, Reference], context: StageContext) -> Outputs:
    """Divides the dataset, and proves that the parts are disjoint and complete, and that nothing leaks between them."""
    from tasks.learning.data.tables import read_table, write_table
    from tasks.learning.splitting.parts import split_rows
    from tasks.learning.splitting.proof import prove_split, repeated_rows

    rows = read_table(context.store.path(inputs["dataset"]))
    values = read_table(context.store.path(inputs["split_values"])) if "split_values" in inputs else None
    parts = split_rows(rows, config.split, values)
    # Rows that are generated do not repeat, and there may be very many.
    proof = prove_split(rows, parts, config.split, values, count_duplicates=config.data.kind == "table")
    for line in repeated_rows(proof):
        context.notice(line)
    outputs = {name: context.publish(f"{name}.parquet", partial(write_table, part)) for name, part in parts.items()}
    return outputs | {"proof": context.publish(PROOF, json.dumps(proof.to_json(), indent=2).encode())}
