"""What holds for all tests."""

import signal

import pytest
from hypothesis import settings

# The same examples each time, none kept on disk, and no time limit: a test that passes here passes everywhere.
settings.register_profile("steady", deadline=None, derandomize=True, database=None)
settings.load_profile("steady")

# A shell lets what it starts in the background ignore Ctrl-C, and what the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts whole flows first, which take long: where several processes share the files, they end at about one time."""
    items.sort(key=lambda item: not item.nodeid.startswith(("tests/flows/", "tests/recipes/")))
