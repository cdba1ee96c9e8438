"""The split in words: how the rows were divided, and what was proved of the parts."""

from collections.abc import Iterator, Mapping
from typing import Any


def describe_split(proof: Mapping[str, Any]) -> list[str]:
    """Sentences on a split.

    Args:
        proof: as JSON describes a `tasks.learning.splitting.proof.SplitProof`.

    Raises:
        KeyError: it lacks the method or the rows.
    """
    by = f", by column {proof['column']}" if "column" in proof else ""
    rows = ", ".join(f"{count:,} {part}" for part, count in proof["rows"].items())
    return [f"Split {proof['method']}{by}: {rows} rows; each row is in exactly one part.", *proved(proof)]


def proved(proof: Mapping[str, Any]) -> Iterator[str]:
    """What was proved or counted beyond that."""
    if values := proof.get("values"):
        counts = ", ".join(f"{count:,} in {part}" for part, count in values.items())
        yield f"No value of {proof['column']} is in two parts: {counts}."
    if first := proof.get("first"):
        spans = ", ".join(f"{part} from {first[part]} to {last}" for part, last in proof["last"].items())
        yield f"Every row is later than all rows of the parts before its own: {spans}."
    if (difference := proof.get("largest_difference")) is not None:
        yield f"The share of each value in a part differs from its share in all rows by at most {difference:.2g}."
    if counted := proof.get("duplicates"):
        copies = ", ".join(f"{count:,} of {part}" for part, count in counted.items())
        yield f"Rows with the very values of a row in a part before: {copies}."
