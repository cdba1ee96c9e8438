"""A collection takes place only where the artifacts/ that are there are the only ones with which tables were made."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from tasks.caching.gc.collection import collect
from tasks.caching.gc.garbage import Keep, find_garbage
from tasks.caching.gc.inspection import inspect_store
from tasks.caching.gc.inventory import UnreadableStoreError
from tasks.caching.storage.contents import OWNER
from tasks.caching.storage.layout import LayoutError
from tasks.caching.storage.ownership import own_data, read_artifacts, read_note, require_own_data, require_sole_owner
from tasks.caching.storage.store import Store


def owners(store: Store) -> list[Path]:
    """The roots of the stores that data/ belongs to, as they are noted there."""
    note = read_note(store)
    return [owner.root for owner in note.owners] if note else []


def test_the_tables_of_another_store_are_left_alone(tmp_path: Path) -> None:
    one, other = Store(tmp_path / "one"), Store(tmp_path / "other")
    own_data(one)
    table = one.publish("make", "table.parquet", b"table")
    other.root.mkdir()
    (other.root / "data").symlink_to(one.locate("data"))
    with pytest.raises(LayoutError, match=f"has the tables of another store, {one.root}, .* data/{OWNER}"):
        require_own_data(other)
    with pytest.raises(LayoutError):
        own_data(other)
    with pytest.raises(UnreadableStoreError, match=r"collection refused: .* another store"):
        collect(other, find_garbage(other, Keep()))
    assert one.path(table).is_file()
    require_own_data(one)
    (one.locate("data") / OWNER).unlink()  # as the message says
    own_data(other)
    assert owners(one) == [other.root]


def test_a_store_that_was_moved_or_copied_keeps_its_tables(tmp_path: Path) -> None:
    own_data(Store(tmp_path / "one"))
    (tmp_path / "one").rename(tmp_path / "moved")
    (tmp_path / "one").mkdir()  # another has its place by now
    own_data(Store(tmp_path / "moved"))
    assert owners(Store(tmp_path / "moved")) == [tmp_path / "moved"]


def test_two_ways_to_the_same_store_are_one(tmp_path: Path) -> None:
    own_data(Store(tmp_path / "one"))
    (tmp_path / "other").mkdir()
    for top in ("data", "artifacts"):
        (tmp_path / "other" / top).symlink_to(tmp_path / "one" / top)
    own_data(Store(tmp_path / "other"))
    own_data(Store(tmp_path / "one"))


GARBLED = [
    b"{",
    b"{}",
    b'{"file": 1, "owners": [1]}',
    b'{"file": 1, "owners": [{"artifacts": "x", "file": 1, "root": "x"}]}',
    b'{"file": 1, "owners": [{"artifacts": "x", "file": 1}]}',
]


@pytest.mark.parametrize("note", [b"", b"one\nx\n", b"/one\n", b"/\0\nx\n", b"\xff\nx\n", *GARBLED], ids=range(10))
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


def with_linked_data(root: Path, data: Path) -> Store:
    """A store whose data/ is a link."""
    root.mkdir()
    data.mkdir(exist_ok=True)
    (root / "data").symlink_to(data)
    return Store(root)


def require_refusal(store: Store, why: str) -> None:
    """Checks that a collection is refused, by its message, and that it removes nothing."""
    for table in store.locate("data").glob("*/*.parquet"):
        os.utime(table, (0, 0))
    tables = sorted(store.locate("data").glob("*/*.parquet"))
    with pytest.raises(UnreadableStoreError, match=f"^collection refused: {why}"):
        collect(store, find_garbage(store, Keep()))
    assert sorted(store.locate("data").glob("*/*.parquet")) == tables


NOT_THE_ONE = "artifacts/ is not the folder that the tables in data/ were made with, or is a copy of it"
ANOTHER = r"tables in data/ were also made with another artifacts/, which was at .*/artifacts, .* remove data/\.store"


def test_nothing_is_collected_while_artifacts_are_away_nor_what_was_made_meanwhile(
    store: Store, tmp_path: Path
) -> None:
    own_data(store)
    store.publish("make", "table.parquet", b"table")
    disk = store.artifacts.rename(tmp_path / "disk")
    require_refusal(store, NOT_THE_ONE)
    own_data(store)  # a training meanwhile, on the mount point
    store.publish("make", "table.parquet", b"made meanwhile")
    require_refusal(store, ANOTHER)
    meanwhile = store.artifacts.rename(tmp_path / "meanwhile")
    disk.rename(store.artifacts)
    for _ in range(2):
        require_refusal(store, ANOTHER)
        own_data(store)
    shutil.rmtree(meanwhile)
    (store.locate("data") / OWNER).unlink()  # as the message says
    own_data(store)
    require_sole_owner(store)


def test_two_stores_that_had_the_same_place_one_after_the_other_are_two(tmp_path: Path) -> None:
    one = with_linked_data(tmp_path / "here", tmp_path / "data")
    own_data(one)
    one.publish("make", "table.parquet", b"table")
    one.root.rename(tmp_path / "one")
    other = with_linked_data(tmp_path / "here", tmp_path / "data")
    own_data(other)
    other.publish("make", "table.parquet", b"another")
    require_refusal(other, ANOTHER)
    other.root.rename(tmp_path / "other")
    (tmp_path / "one").rename(tmp_path / "here")
    require_refusal(Store(tmp_path / "here"), ANOTHER)


@pytest.mark.parametrize("trains", [False, True])
def test_a_copy_of_artifacts_is_not_the_original(tmp_path: Path, trains: bool) -> None:
    original = with_linked_data(tmp_path / "original", tmp_path / "data")
    own_data(original)
    original.publish("make", "table.parquet", b"table")
    copy = Store(shutil.copytree(original.root, tmp_path / "copy", symlinks=True))
    original.publish("make", "table.parquet", b"since")
    require_refusal(copy, ".* has the tables of another store")
    original.root.rename(tmp_path / "moved")
    if trains:
        own_data(copy)
    require_refusal(copy, ANOTHER if trains else NOT_THE_ONE)
    moved = Store(tmp_path / "moved")
    if trains:
        require_refusal(moved, ".* has the tables of another store")
        copy.root.rename(tmp_path / "moved as well")
        require_refusal(moved, ANOTHER)
    else:
        require_sole_owner(moved)


@pytest.mark.parametrize("trains", [False, True])
def test_a_copy_of_a_whole_store_is_a_store_of_its_own(store: Store, tmp_path: Path, trains: bool) -> None:
    own_data(store)
    copy = Store(shutil.copytree(store.root, tmp_path / "copy"))
    if trains:
        own_data(copy)
        assert owners(copy) == [copy.root]
    require_sole_owner(copy)
    own_data(store)
    require_sole_owner(store)


def test_others_are_remembered_where_data_moves_to_another_disk(tmp_path: Path) -> None:
    one = with_linked_data(tmp_path / "one", tmp_path / "data")
    own_data(one)
    one.root.rename(tmp_path / "away")
    other = with_linked_data(tmp_path / "other", tmp_path / "data")
    own_data(other)
    shutil.copytree(tmp_path / "data", tmp_path / "disk")
    (other.root / "data").unlink()
    (other.root / "data").symlink_to(tmp_path / "disk")
    own_data(other)
    require_refusal(other, ANOTHER)


def test_the_note_of_the_version_before_is_read(store: Store) -> None:
    own_data(store)
    own = read_artifacts(store)
    assert own is not None
    (store.locate("data") / OWNER).write_text(f"{store.root}\n{own.artifacts}\n")
    require_sole_owner(store)
    own_data(store)
    note = read_note(store)
    assert note is not None
    assert note.owners == (own,)


def test_data_whose_artifacts_are_gone_for_good_can_be_given_to_others(store: Store) -> None:
    own_data(store)
    shutil.rmtree(store.artifacts)
    (store.locate("data") / OWNER).unlink()  # as the message says
    own_data(store)
    require_sole_owner(store)


def test_a_store_without_a_note_is_as_before(store: Store) -> None:
    store.publish("make", "table.parquet", b"table")
    require_sole_owner(store)
    own_data(store)
    require_sole_owner(store)


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
        require_sole_owner(Store(root))
