"""An unsafe layout of the store is bad input: it is refused before a run starts."""

from collections.abc import Collection

from flows.errors import InputError
from tasks.caching.storage.layout import LayoutError, require_folders
from tasks.caching.storage.ownership import require_own_data
from tasks.caching.storage.store import Store


def require_layout(store: Store, stages: Collection[str] = ()) -> None:
    """Checks that the folders of a store, and of stages that are to run, are folders and its own.

    Raises:
        InputError: one of them is not.
    """
    try:
        require_folders(store, stages)
        require_own_data(store)
    except LayoutError as error:
        raise InputError(str(error)) from error
