"""Which of several concurrent flows began last: `latest` points to what that one made, whichever ends last.

Flows take sequence numbers when they begin, not times: a clock may be set back. The numbers mean nothing once no flow
is running, so they lie beside the locks, and start from 1 again if their file is lost.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from tasks.caching.locking.lock import locked_folder
from tasks.caching.runs.pointers import point, pointers
from tasks.caching.storage.durable import temporary_file
from tasks.caching.storage.store import Store

#: The key of the number that was taken last; a pointer's name is the key of the number of the flow that set it last.
BEGUN = "begun"


def take_sequence_number(store: Store) -> int:
    """The number of a flow that begins: above those of all that began before it."""
    with sequence_numbers(store) as numbers:
        numbers[BEGUN] = numbers.get(BEGUN, 0) + 1
        return numbers[BEGUN]


def point_if_newest(folder: Path, experiment: str, store: Store, number: int) -> bool:
    """Makes the pointers of an experiment point to a run, except those that a flow has set which began later.

    Returns:
        Whether all of them point to it.
    """
    with sequence_numbers(store) as numbers:
        own = [pointer for pointer in pointers(experiment) if numbers.get(pointer, 0) <= number]
        for pointer in own:
            numbers[pointer] = number
            point(pointer, folder, store)
        return len(own) == len(pointers(experiment))


@contextlib.contextmanager
def sequence_numbers(store: Store) -> Iterator[dict[str, int]]:
    """The numbers so far, for one process at a time; changes to them are written back."""
    path = store.locks / "turns.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked_folder(path.parent):
        numbers = read_numbers(path)
        yield numbers
        with temporary_file(path.parent) as draft:  # no fsync: no flow outlives a power cut
            draft.write_text(json.dumps(numbers))
            draft.replace(path)


def read_numbers(path: Path) -> dict[str, int]:
    """The numbers in a file; none if it is missing or damaged."""
    try:
        numbers = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    whole = isinstance(numbers, dict) and all(type(number) is int for number in numbers.values())
    return numbers if whole else {}
