"""Drift of a metric over runs: the band in which the runs before lie, and whether a new value is outside it.

The band is the modified z-score of Iglewicz and Hoaglin, solved for the value. With the median of the values before,
and their MAD, the median of |value − median|, a value is outside if

    |0.6745 · (value − median) / MAD| > 3.5

0.6745 is the third quartile of the standard normal distribution, so that MAD / 0.6745 estimates its standard deviation.
Mean and standard deviation would not do: one bad night widens them so far that the next one passes. Median and MAD
hardly move until half of the nights are bad; by then the new level is the usual one, and the old one is outside.

How often chance alone puts a value outside, if they are independent and normal: in 12 % of cases after 5 runs, in 3 %
after 10, in 0.5 % after 30.

Source: B. Iglewicz and D. C. Hoaglin, How to Detect and Handle Outliers, ASQC Basic References in Quality Control 16,
1993; also in the NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.5.17.
"""

from collections.abc import Sequence
from dataclasses import dataclass

#: A modified z-score beyond this is outside, as Iglewicz and Hoaglin recommend.
CUT = 3.5

#: The third quartile of the standard normal distribution, as they round it.
QUARTILE = 0.6745

#: Runs before that make the band: at most the last so many, and no band from fewer than so few known values.
MOST_BEFORE, FEWEST_BEFORE = 30, 5

#: A value beyond this counts as none, as one that is not finite does: sums and differences of all others are finite.
LARGEST = 1e300

#: The band reaches at least this far to either side, relative to its median. A pipeline that gives equal results night
#: after night has MAD 0: without this, what another processor rounds differently would be drift.
FLOOR = 1e-3


@dataclass(frozen=True)
class Band:
    """Where a metric is expected, bounds included, in the metric's own unit; finite."""

    low: float
    high: float


def band_after(before: Sequence[float | None]) -> Band | None:
    """The band that the values of a metric in the runs before make, oldest first; None if too few of them are known.

    Only the last `MOST_BEFORE` runs count, those without a value among them. If all values are 0, so is the whole band:
    there is nothing to measure the floor by.
    """
    values = [value for value in map(known, before[-MOST_BEFORE:]) if value is not None]
    if len(values) < FEWEST_BEFORE:
        return None
    middle = median(values)
    spread = median([abs(value - middle) for value in values])
    reach = max(CUT * spread / QUARTILE, FLOOR * abs(middle))
    return Band(middle - reach, middle + reach)


def is_outside(value: float | None, before: Sequence[float | None]) -> bool:
    """Whether a metric leaves the band of the runs before; never if there is none.

    A metric without a value is outside if it had one in each of the runs that count.
    """
    band, value = band_after(before), known(value)
    if band is None:
        return False
    if value is None:
        return all(known(earlier) is not None for earlier in before[-MOST_BEFORE:])
    return not band.low <= value <= band.high


def known(value: float | None) -> float | None:
    """A value, if it is a finite number that can be reckoned with."""
    return value if value is not None and abs(value) <= LARGEST else None


def median(values: Sequence[float]) -> float:
    """The median; of an even number, half-way between the two in the middle."""
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
