"""The methods by which rows are divided by the values of a column: each gives every row the place of its part."""

import math
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.errors import ExperimentError
from tasks.learning.config.split import Split
from tasks.learning.data.tables import to_numpy
from tasks.learning.splitting.values import NUMBER, TEXT

#: For each row the place of its part: 0 for train, and so on.
Places = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: The values of 8 bytes of a digest.
_DIGESTS = 2.0**64


def places_by_value(split: Split, values: pa.Table) -> Places:
    """The part of each row, int64 of shape [rows].

    Args:
        split: with a method that needs a column.
        values: of that column; see `tasks.learning.splitting.values`.

    Raises:
        ExperimentError: `split.cut` is no value like those of the column.
    """
    if split.method == "time":
        return by_time(split, values)
    encoded = values[TEXT].combine_chunks().dictionary_encode()
    codes, texts = to_numpy(pa.chunked_array([encoded.indices])).astype(np.int64), encoded.dictionary
    if split.method == "stratified":
        return stratified(split, codes)
    if split.method == "grouped":
        return grouped(split, codes)
    return by_hash(split, texts)[codes]


def stratified(split: Split, codes: npt.NDArray[np.int64]) -> Places:
    """Of the rows of each value, in a seeded order, the same fractions go to each part."""
    rows, counts = len(codes), np.bincount(codes)
    drawn = np.random.default_rng(split.seed).permutation(rows)
    drawn = drawn[np.argsort(codes[drawn], kind="stable")]
    before = np.arange(rows) - np.repeat(np.cumsum(counts) - counts, counts)  # in the rows of its own value
    fractions = np.empty(rows)
    fractions[drawn] = (before + 0.5) / np.repeat(counts, counts)
    return by_fraction(split, fractions)


def grouped(split: Split, codes: npt.NDArray[np.int64]) -> Places:
    """All rows of a value go to one part: that in which the middle of the group lies, in a seeded order of groups."""
    counts = np.bincount(codes)
    drawn = np.random.default_rng(split.seed).permutation(len(counts))
    places = np.empty(len(counts), np.int64)
    places[drawn] = by_fraction(split, (np.cumsum(counts[drawn]) - counts[drawn] / 2) / len(codes))
    return places[codes]


def by_hash(split: Split, texts: pa.StringArray) -> Places:
    """The part of each value, by its digest and nothing else: rows that are added later move no other."""
    digests = (blake2b(f"{split.seed}:{text}".encode(), digest_size=8).digest() for text in texts.to_pylist())
    return by_fraction(split, np.array([int.from_bytes(digest, "big") / _DIGESTS for digest in digests]))


def by_time(split: Split, values: pa.Table) -> Places:
    """The earliest rows are for training and the latest for the test; rows of one time are in one part.

    With `split.cut`, rows are for the test from that time on, and validation takes the last fraction of the others.
    """
    times = to_numpy(values[values.column_names[-1]])
    if split.cut is None:
        return by_fraction(split, share_before(times))
    early = times < cut_value(split.cut, split.column, values.column_names[-1])
    places = np.full(len(times), len(split.parts) - 1, np.int64)
    places[early] = np.searchsorted([1 - split.validation], share_before(times[early]), side="right")
    return places


def share_before(times: npt.NDArray[np.int64] | Floats) -> Floats:
    """For each row, the fraction of the rows that are earlier."""
    return np.searchsorted(np.sort(times), times, side="left") / max(len(times), 1)


def cut_value(cut: str, column: str | None, kind: str) -> float:
    """Where the test part begins, as the values of the column are: a number, or microseconds since 1970 in UTC.

    Raises:
        ExperimentError: it is no such value.
    """
    try:
        return number(cut) if kind == NUMBER else microseconds(datetime.fromisoformat(cut))
    except ValueError as error:
        what = "a number" if kind == NUMBER else "a date or time such as 2026-11-28 or 2026-11-28T08:00:00"
        raise ExperimentError(f"split.cut {cut!r} must be {what}, as column {column!r} has") from error


def number(text: str) -> float:
    """A finite number.

    Raises:
        ValueError: it is none.
    """
    if not math.isfinite(found := float(text)):
        raise ValueError("not finite")
    return found


def microseconds(moment: datetime) -> int:
    """A time as microseconds since 1970 in UTC; one without a time zone is taken as UTC."""
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - EPOCH) // timedelta(microseconds=1)


def by_fraction(split: Split, fractions: Floats) -> Places:
    """The part for each of some fractions from 0 to 1: train below `split.train`, and so on."""
    bounds = [split.train, split.train + split.validation] if split.validation else [split.train]
    return np.searchsorted(bounds, fractions, side="right").astype(np.int64)
