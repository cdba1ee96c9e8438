"""A store works in folders of its own: links in their place, and a data/ that another store has too, are refused."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from tasks.caching.collection import collect
from tasks.caching.contents import OWNER
from tasks.caching.garbage import Keep, UnreadableStoreError, find_garbage
from tasks.caching.inspection import inspect_store
from tasks.caching.layout import LayoutError, own_data, read_note, require_own_artifacts, require_own_folders
from tasks.caching.store import Store

FOLDERS = ["data/make", "artifacts/make", "artifacts/records/make", "artifacts/runs", "artifacts/records/locks"]


def linked(place: Path, elsewhere: Path, *, exists: bool = True) -> None:
    """A link where a folder belongs, to one that exists or not."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if exists:
        elsewhere.mkdir(parents=True)
    place.symlink_to(elsewhere)


def owner(store: Store) -> Path | None:
    """The root of the store that data/ belongs to, as it is noted there."""
    note = read_note(store)
    return note.root if note else None


@pytest.mark.parametrize("place", FOLDERS)
@pytest.mark.parametrize("exists", [True, False], ids=["there", "away"])
def test_a_link_in_the_place_of_a_folder_is_refused_by_name(
    store: Store, tmp_path: Path, place: str, exists: bool
) -> None:
    linked(store.root / place, tmp_path / "elsewhere", exists=exists)
    with pytest.raises(LayoutError, match=f"^{place} is a link in the place of a folder: move what it leads to there"):
        require_own_folders(store, ["make"])


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
    require_own_folders(store, ["make"])
    assert inspect_store(store).findings == []


def test_a_link_that_is_no_folder_of_the_store_is_none_of_its_business(store: Store, tmp_path: Path) -> None:
    linked(store.artifacts / "mine", tmp_path / "elsewhere")
    require_own_folders(store, ["make"])


def test_the_tables_of_another_store_are_left_alone(tmp_path: Path) -> None:
    one, other = Store(tmp_path / "one"), Store(tmp_path / "other")
    own_data(one)
    table = one.publish("make", "table.parquet", b"table")
    linked(other.root / "data", one.locate("data"), exists=False)
    with pytest.raises(LayoutError, match=f"has the tables of another store, {one.root}, .* data/{OWNER}"):
        require_own_folders(other)
    with pytest.raises(LayoutError):
        own_data(other)
    with pytest.raises(UnreadableStoreError, match=r"collection refused: .* another store"):
        collect(other, find_garbage(other, Keep()))
    assert one.path(table).is_file()
    require_own_folders(one)
    (one.locate("data") / OWNER).unlink()  # as the message says
    own_data(other)
    assert owner(one) == other.root


def test_a_store_that_was_moved_or_copied_keeps_its_tables(tmp_path: Path) -> None:
    own_data(Store(tmp_path / "one"))
    (tmp_path / "one").rename(tmp_path / "moved")
    (tmp_path / "one").mkdir()  # another has its place by now
    own_data(Store(tmp_path / "moved"))
    assert owner(Store(tmp_path / "moved")) == tmp_path / "moved"


def test_two_ways_to_the_same_store_are_one(tmp_path: Path) -> None:
    own_data(Store(tmp_path / "one"))
    for top in ("data", "artifacts"):
        (tmp_path / "one" / top).mkdir(exist_ok=True)
        linked(tmp_path / "other" / top, tmp_path / "one" / top, exists=False)
    own_data(Store(tmp_path / "other"))
    own_data(Store(tmp_path / "one"))


@pytest.mark.parametrize("note", [b"", b"one\nx\n", b"/one\n", b"/\0\nx\n", b"\xff\nx\n"], ids=range(5))
def test_a_note_that_names_no_store_is_refused_with_what_to_do(store: Store, note: bytes) -> None:
    (store.root / "data").mkdir(parents=True)
    (store.locate("data") / OWNER).write_bytes(note)
    with pytest.raises(LayoutError, match=f"data/{OWNER} does not say which store .* remove it"):
        own_data(store)


def test_the_note_is_written_once_and_belongs_there(store: Store) -> None:
    own_data(store)
    before = (store.locate("data") / OWNER).stat()
    own_data(store)
    assert (store.locate("data") / OWNER).stat().st_ino == before.st_ino
    assert inspect_store(store).findings == []


def test_nothing_is_collected_where_other_artifacts_have_taken_the_place_of_those_that_data_belongs_to(
    store: Store, tmp_path: Path
) -> None:
    own_data(store)
    table = store.publish("make", "table.parquet", b"table")
    os.utime(store.locate(table.path), (0, 0))
    before = store.artifacts.rename(tmp_path / "aside")
    own_data(store)  # a training meanwhile, on the mount point
    with pytest.raises(LayoutError, match=r"artifacts/ is not the one with which .* remove data/\.store if it is gone"):
        require_own_artifacts(store)
    with pytest.raises(UnreadableStoreError, match=r"collection refused: artifacts/ is not the one"):
        find_garbage(store, Keep())
    shutil.rmtree(store.artifacts)
    before.rename(store.artifacts)  # the disk is back
    own_data(store)
    require_own_artifacts(store)


def test_data_whose_artifacts_are_gone_for_good_can_be_given_to_others(store: Store) -> None:
    own_data(store)
    shutil.rmtree(store.artifacts)
    (store.locate("data") / OWNER).unlink()  # as the message says
    own_data(store)
    require_own_artifacts(store)


def test_a_store_without_a_note_is_as_before(store: Store) -> None:
    store.publish("make", "table.parquet", b"table")
    require_own_artifacts(store)
    own_data(store)
    require_own_artifacts(store)


def test_two_first_runs_at_once_agree_on_the_store(tmp_path: Path) -> None:
    for number in range(30):
        root = tmp_path / str(number)
        begin = Barrier(4)

        def own(root: Path = root, begin: Barrier = begin) -> None:
            begin.wait()
            own_data(Store(root))

        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(own) for _ in range(4)]:
                done.result()
        require_own_artifacts(Store(root))
