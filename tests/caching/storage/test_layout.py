"""The folders of a store are folders: links in their place are refused."""

from pathlib import Path

import pytest

from tasks.caching.gc.garbage import Keep, find_garbage
from tasks.caching.gc.inspection import inspect_store
from tasks.caching.gc.inventory import UnreadableStoreError
from tasks.caching.storage.layout import LayoutError, require_folders
from tasks.caching.storage.ownership import own_data
from tasks.caching.storage.store import Store

FOLDERS = [
    "data/make",
    "artifacts/make",
    "artifacts/records/make",
    "artifacts/runs",
    "artifacts/records/locks",
    "artifacts/records/last/line",
    "artifacts/states/make",
    f"artifacts/states/make/{'0' * 64}",
]


def linked(place: Path, elsewhere: Path, *, exists: bool = True) -> None:
    """A link where a folder belongs, to one that exists or not."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if exists:
        elsewhere.mkdir(parents=True)
    place.symlink_to(elsewhere)


@pytest.mark.parametrize("place", FOLDERS)
@pytest.mark.parametrize("exists", [True, False], ids=["there", "away"])
def test_a_link_in_the_place_of_a_folder_is_refused_by_name(
    store: Store, tmp_path: Path, place: str, exists: bool
) -> None:
    linked(store.root / place, tmp_path / "elsewhere", exists=exists)
    with pytest.raises(LayoutError, match=f"^{place} is a link in the place of a folder: replace it with"):
        require_folders(store, ["make"])


@pytest.mark.parametrize("place", FOLDERS)
def test_nothing_is_collected_where_a_folder_is_a_link(store: Store, tmp_path: Path, place: str) -> None:
    linked(store.root / place, tmp_path / "elsewhere", exists=False)
    if place != "artifacts/records/make":
        (store.records / "make").mkdir(parents=True)  # the stage has run
    with pytest.raises(UnreadableStoreError, match=f"^collection refused: {place} is a link"):
        find_garbage(store, Keep())


def test_data_and_artifacts_as_a_whole_may_be_links(tmp_path: Path) -> None:
    for top in ("data", "artifacts"):
        linked(tmp_path / "store" / top, tmp_path / "disk" / top)
    store = Store(tmp_path / "store")
    own_data(store)
    require_folders(store, ["make"])
    assert inspect_store(store).findings == []


def test_a_link_that_is_no_folder_of_the_store_is_none_of_its_business(store: Store, tmp_path: Path) -> None:
    linked(store.artifacts / "mine", tmp_path / "elsewhere")
    require_folders(store, ["make"])
