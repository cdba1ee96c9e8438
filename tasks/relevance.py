"""When a setting shapes a result: where it does not, no stage runs again because it changed.

In a module of its own, because `tasks.learning` states it and `tasks.caching` applies it; they do not import each
other.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class MattersIf:
    """Stands in the annotation of a setting, and says when it shapes a result.

    A setting that is added later gets a rule too, `MattersIf(lambda section: section.name is not None)` for example:
    with the value that means what was done before, every result that was computed before is still found.

    Attributes:
        rule: takes the section that the setting is in.
    """

    rule: Callable[[Any], bool]
