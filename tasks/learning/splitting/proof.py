"""The proof that a split is one: no row is lost or held twice, and nothing that identifies a row is on two sides."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.learning.config.split import Split
from tasks.learning.data.schema import ROW
from tasks.learning.data.table_files import shortened
from tasks.learning.data.tables import to_arrow, to_numpy
from tasks.learning.splitting.values import TEXT, TIME

Rows = npt.NDArray[np.int64]

_FAILED = "the split is no partition of the dataset"
_LEAKS = "the split leaks"


@dataclass(frozen=True)
class SplitProof:
    """What was found when the parts were compared with each other; written as JSON.

    Attributes:
        method: of the split.
        column: by which the rows were divided, if by one.
        rows: how many each part has.
        values: how many values of the column each part has, none of which is in another (grouped and hash).
        first: the first value in time of each part, later than all of the parts before it (time).
        last: the last one.
        largest_difference: of the share that any value has of a part from the share that it has of all rows
            (stratified).
        duplicates: rows of each part whose features and target are exactly those of a row in a part before it; empty
            where they were not counted.
    """

    method: str
    column: str | None
    rows: dict[str, int]
    values: dict[str, int] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)
    last: dict[str, str] = field(default_factory=dict)
    largest_difference: float | None = None
    duplicates: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """What there is of it."""
        return {name: value for name, value in asdict(self).items() if value not in (None, {})}


def prove_split(
    table: pa.Table, parts: Mapping[str, pa.Table], split: Split, values: pa.Table | None, *, count_duplicates: bool
) -> SplitProof:
    """Proves that parts are a partition of the dataset, and that what the method keeps apart is apart.

    Args:
        table: the dataset.
        parts: of it, in their order.
        split: how it was divided.
        values: of the column by which it was divided, if by one; see `tasks.learning.splitting.values`.
        count_duplicates: whether rows of one part that are also in another are counted.

    Raises:
        ValueError: they are not; a row or value is named.
    """
    prove_partition(table, parts)
    found: dict[str, Any] = {}
    if values is not None:
        held = {part: values_of(to_numpy(rows[ROW]), values) for part, rows in parts.items()}
        found = _PROOFS[split.method](held)
    return SplitProof(
        method=split.method,
        column=None if values is None else split.column,
        rows={part: rows.num_rows for part, rows in parts.items()},
        duplicates=duplicates(parts) if count_duplicates else {},
        **found,
    )


def values_of(rows: Rows, values: pa.Table) -> pa.Table:
    """The values of some rows, found by their numbers and not by their places: the proof trusts no method."""
    return values.take(to_arrow(np.searchsorted(to_numpy(values[ROW]), rows)))


def prove_apart(held: Mapping[str, pa.Table]) -> dict[str, Any]:
    """Proves that no value is in two parts; counts the values of each.

    Raises:
        ValueError: one is.
    """
    distinct = {part: set(values[TEXT].unique().to_pylist()) for part, values in held.items()}
    for number, (part, found) in enumerate(distinct.items()):
        for other, earlier in list(distinct.items())[:number]:
            if shared := found & earlier:
                raise ValueError(f"{_LEAKS}: {shortened(min(shared))!r} is in {other} and in {part}")
    return {"values": {part: len(found) for part, found in distinct.items()}}


def prove_later(held: Mapping[str, pa.Table]) -> dict[str, Any]:
    """Proves that every row of a part is later than all rows of the parts before it.

    Raises:
        ValueError: one is not.
    """
    kind = next(iter(held.values())).column_names[-1]
    times = {part: to_numpy(values[kind]) for part, values in held.items()}
    for one, other in pairwise(times):
        if times[one].max() >= times[other].min():
            early = written(times[other].min(), kind)
            raise ValueError(f"{_LEAKS}: {early} is in {other}, and {one} reaches later")
    first, last = ({part: written(edge(at), kind) for part, at in times.items()} for edge in (np.min, np.max))
    return {"first": first, "last": last}


def measure_shares(held: Mapping[str, pa.Table]) -> dict[str, Any]:
    """How far the share of a value in a part is from its share in all rows, at most."""
    texts = [values[TEXT].combine_chunks() for values in held.values()]
    encoded = pa.chunked_array(texts).combine_chunks().dictionary_encode()
    codes = to_numpy(pa.chunked_array([encoded.indices]))
    count = len(encoded.dictionary)
    whole = np.bincount(codes, minlength=count) / len(codes)
    sides = np.split(codes, np.cumsum([len(part) for part in texts])[:-1])
    shares = [np.bincount(side, minlength=count) / len(side) for side in sides]
    return {"largest_difference": float(max(np.abs(share - whole).max() for share in shares))}


#: What each method that divides by a column promises of the parts, and how that is proved.
_PROOFS = {"grouped": prove_apart, "hash": prove_apart, "time": prove_later, "stratified": measure_shares}


def written(value: Any, kind: str) -> str:
    """A time or number as people write it."""
    if kind != TIME:
        return str(int(value)) if float(value).is_integer() else repr(float(value))
    return str(np.datetime_as_string(np.datetime64(int(value), "us"), unit="s", timezone="UTC"))


def duplicates(parts: Mapping[str, pa.Table]) -> dict[str, int]:
    """Rows of each part but the first that equal a row of a part before it in all features and the target."""
    hashes = {part: row_hashes(rows) for part, rows in parts.items()}
    names = list(hashes)
    return {
        part: int(np.isin(hashes[part], np.concatenate([hashes[name] for name in names[:number]])).sum())
        for number, part in enumerate(names)
        if number
    }


def repeated_rows(proof: SplitProof) -> Iterator[str]:
    """A line for each part with rows that are also in a part before it."""
    parts = list(proof.rows)
    for part, count in proof.duplicates.items():
        if count:
            before = " or ".join(parts[: parts.index(part)])
            yield f"{count:,} of {proof.rows[part]:,} rows of {part} have the very values of a row of {before}"


def row_hashes(rows: pa.Table) -> npt.NDArray[np.uint64]:
    """A hash of 64 bits of the values of each row, by the mixing of splitmix64 (Steele, Lea and Flood, 2014).

    Two of n different rows have the same one with a probability of about n² / 2⁶⁵: 3·10⁻⁶ for ten million rows.
    """
    state = np.zeros(rows.num_rows, np.uint64)
    for name in rows.column_names:
        if name != ROW:
            state = mixed(state + to_numpy(rows[name]).view(np.uint32).astype(np.uint64))
    return state


def mixed(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The next outputs of splitmix64 from these states."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def prove_partition(table: pa.Table, parts: Mapping[str, pa.Table]) -> None:
    """Prove that every row of a table is in exactly one of its parts, by the column of their numbers.

    Raises:
        ValueError: a row is in two parts, twice in one, in none, or in a part alone; the row is named.
    """
    rows = {part: to_numpy(held[ROW]) for part, held in parts.items()}
    found = np.sort(np.concatenate(list(rows.values())))
    expected = np.sort(to_numpy(table[ROW]))
    if np.array_equal(found, expected):
        return
    repeated = found[1:][found[1:] == found[:-1]]
    if len(repeated):
        raise ValueError(f"{_FAILED}: row {repeated[0]} is held more than once, by {_holders(repeated[0], rows)}")
    missing = np.setdiff1d(expected, found)
    if len(missing):
        raise ValueError(f"{_FAILED}: row {missing[0]} is in no part, like {len(missing) - 1:,} others")
    foreign = np.setdiff1d(found, expected)
    raise ValueError(f"{_FAILED}: row {foreign[0]}, held by {_holders(foreign[0], rows)}, is not in the dataset")


def _holders(row: np.int64, rows: Mapping[str, Rows]) -> str:
    """The parts that hold a row, such as "train and test"; a part that holds it twice is named twice."""
    return " and ".join(part for part, held in rows.items() for _ in range(np.count_nonzero(held == row)))
