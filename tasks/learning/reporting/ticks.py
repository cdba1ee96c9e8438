"""Ticks short enough for the fixed margins of a figure.

What all ticks of an axis have in common, a power of ten or a large number that they start from, is taken out of them
and goes into the label of the axis. Matplotlib writes it at the end of the axis, where it lies on the legend.
"""

import numpy as np
import numpy.typing as npt
from matplotlib.axis import Axis

Floats = npt.NDArray[np.float64]

#: Characters of a tick that fit beside the longest label of a vertical axis, as −0.025 does.
MOST_CHARACTERS = 6

#: Labelled powers of ten on a logarithmic axis; fewer than the least, and their multiples by 2 and 5 are labelled too.
_LEAST_POWERS, _MOST_POWERS = 3, 8

#: The smallest power of ten that a float64 holds at full precision.
_SMALLEST_EXPONENT = -307

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def shorten_ticks(axis: Axis) -> str:
    """Fixes the ticks of a linear axis as they are, each with at most MOST_CHARACTERS.

    A power of ten is taken out of them if they are longer than that, a number to start from if that does not help, or
    both.

    Returns:
        What was taken out, to be appended to the label: "", ", ×10⁻⁷", " − 1,000,000" or " − 1,000,000, ×10⁻³".
    """
    ticks = _visible_ticks(axis)
    start = _start(ticks)
    for offset, exponent in ((0.0, 0), (0.0, _exponent(ticks)), (start, 0), (start, _exponent(ticks - start))):
        labels = _write(ticks - offset, exponent)
        if max(map(len, labels)) <= MOST_CHARACTERS:
            break
    axis.set_ticks(ticks, labels)
    return _offset_text(offset) + (f", ×{_power(exponent)}" if exponent else "")


def mark_powers(axis: Axis, low: float, high: float, most_characters: int = MOST_CHARACTERS) -> None:
    """Labels powers of ten on a logarithmic axis, and 0 on one that has it.

    Args:
        axis: its scale is logarithmic, or linear around 0 and logarithmic further out.
        low: the least number to be labelled beside 0; positive.
        high: the largest; more than low.
        most_characters: of a label; if one is longer, all are written as powers.
    """
    first, last = int(np.ceil(np.log10(low))), int(np.floor(np.log10(high)))
    stride = -(-(last - first + 1) // _MOST_POWERS)
    factors = (1, 2, 5) if last - first + 1 < _LEAST_POWERS else (1,)
    exponents = range(first - 1, last + 1) if len(factors) > 1 else range(first, last + 1, stride)
    known = [(factor, exponent) for exponent in exponents for factor in factors]
    marks = [(factor, exponent) for factor, exponent in known if low <= factor * 10.0**exponent <= high]
    plain = [f"{factor * 10.0**exponent:,.{max(0, -exponent)}f}" for factor, exponent in marks]
    if max(map(len, plain)) > most_characters:
        plain = [_power(exponent) if factor == 1 else f"{factor}×{_power(exponent)}" for factor, exponent in marks]
    zero = [0.0] if axis.get_scale() == "symlog" else []
    axis.set_ticks([*zero, *(factor * 10.0**exponent for factor, exponent in marks)], [*("0" for _ in zero), *plain])


def _visible_ticks(axis: Axis) -> Floats:
    """Where matplotlib would put the ticks, without those that are out of view."""
    ticks = np.asarray(axis.get_majorticklocs(), np.float64)
    low, high = sorted(axis.get_view_interval())
    return ticks[(low <= ticks) & (ticks <= high)]


def _exponent(numbers: Floats) -> int:
    """Of the power of ten that the largest of the numbers is a multiple of."""
    largest = np.abs(numbers).max()
    return max(int(np.floor(np.log10(largest))), _SMALLEST_EXPONENT) if largest else 0


def _start(ticks: Floats) -> float:
    """The round number towards 0 from all ticks that the fewest digits separate from them; 0 if they surround it."""
    if ticks[0] <= 0 <= ticks[-1] or len(ticks) == 1:
        return 0.0
    unit = 10.0 ** np.ceil(np.log10(ticks[-1] - ticks[0]))
    nearest = ticks[0] if ticks[0] > 0 else ticks[-1]
    return float(np.trunc(nearest / unit) * unit)


def _write(numbers: Floats, exponent: int) -> list[str]:
    """Evenly spaced numbers, in units of a power of ten, with as few decimals as distinguish them all."""
    own = _exponent(numbers)
    mantissas = numbers / 10.0**own
    spacing = np.diff(mantissas).min() if len(mantissas) > 1 else 1.0
    decimals = 0
    while np.abs(mantissas - mantissas.round(decimals)).max() > 1e-3 * spacing and decimals < np.finfo(float).precision:
        decimals += 1
    scaled = numbers / 10.0**exponent
    return [f"{number:z.{max(0, decimals + exponent - own)}f}".replace("-", "−") for number in scaled]


def _offset_text(offset: float) -> str:
    """A number that was taken off, as it stands behind a name: " − 1,000,000"."""
    if not offset:
        return ""
    mantissa, _, exponent = f"{abs(offset):,.15g}".partition("e")
    return f" {'−' if offset > 0 else '+'} {mantissa}" + (f"×{_power(int(exponent))}" if exponent else "")


def _power(exponent: int) -> str:
    """A power of ten: 10⁻⁷."""
    return f"10{str(exponent).translate(_SUPERSCRIPT)}"
