"""Which of the flows that run at once began last: `latest` points to what that one made, whichever ends last.

Flows take numbers when they begin, not times: a clock may be set back. The numbers mean nothing once no flow runs, so
they lie beside the locks, and begin anew if their file is lost.
"""

import contextlib
import fcntl
import json
from collections.abc import Iterator
from pathlib import Path

from tasks.caching.runs.pointers import point, pointers
from tasks.caching.storage.durable import locked_folder, temporary_file
from tasks.caching.storage.store import Store

#: The number that was taken last; under a pointer's name stands the number of the flow that set it last.
BEGUN = "begun"


def take_turn(store: Store) -> int:
    """The number of a flow that begins: above those of all that began before."""
    with turns(store) as numbers:
        numbers[BEGUN] = numbers.get(BEGUN, 0) + 1
        return numbers[BEGUN]


def point_in_turn(folder: Path, experiment: str, store: Store, turn: int) -> bool:
    """Makes the pointers of an experiment point to a run, but for those that a flow has set which began later.

    Returns:
        Whether all of them point to it.
    """
    with turns(store) as numbers:
        own = [pointer for pointer in pointers(experiment) if numbers.get(pointer, 0) <= turn]
        for pointer in own:
            numbers[pointer] = turn
            point(pointer, folder, store)
        return len(own) == len(pointers(experiment))


@contextlib.contextmanager
def turns(store: Store) -> Iterator[dict[str, int]]:
    """The numbers so far, for one process at a time; what is changed in them is kept."""
    path = store.records / "locks" / "turns.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked_folder(path.parent, fcntl.LOCK_EX):
        numbers = read_numbers(path)
        yield numbers
        with temporary_file(path.parent) as draft:  # not written through to the disk: no flow outlives a power cut
            draft.write_text(json.dumps(numbers))
            draft.replace(path)


def read_numbers(path: Path) -> dict[str, int]:
    """The numbers in a file; none if it is not there, or is garbage."""
    try:
        numbers = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    whole = isinstance(numbers, dict) and all(type(number) is int for number in numbers.values())
    return numbers if whole else {}
