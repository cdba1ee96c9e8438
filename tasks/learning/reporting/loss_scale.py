"""When losses are drawn on a logarithmic axis; apart from the drawing, so that asking does not import matplotlib."""

from collections.abc import Iterable

#: How many times the smallest loss, and how many times the median, the largest one may be on an axis that starts at 0.
SPAN, RISE = 100, 20


def is_logarithmic(losses: Iterable[float]) -> bool:
    """Whether losses span more than two decades, or half of them would lie on the lowest twentieth of a linear axis.

    Only positive losses count: where a loss comes down to exactly 0, the others decide.
    """
    positive = sorted(loss for loss in losses if loss > 0)
    return bool(positive) and positive[-1] > min(SPAN * positive[0], RISE * positive[len(positive) // 2])
