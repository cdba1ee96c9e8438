"""Commands refuse a store whose folders are links, or whose tables are another store's, before anything is done."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.caching.storage.ownership import own_data, read_artifacts, read_note
from tasks.caching.storage.store import Store
from tests.support.serving_project import Finish
from tests.support.stages import STAGES

Command = Callable[..., tuple[int, str, str]]


def files(store: Store) -> set[Path]:
    return {path for top in ("data", "artifacts") for path in store.locate(top).rglob("*") if path.is_file()}


@pytest.mark.parametrize("place", ["data/generate", "artifacts/train", "artifacts/runs"])
@pytest.mark.parametrize("words", [("plan", "line"), ("train", "line", "--training.epochs", "3"), ("verify", "latest")])
def test_a_folder_that_was_moved_to_another_disk_is_named(
    trained: Store, command: Command, tmp_path: Path, place: str, words: tuple[str, ...]
) -> None:
    folder = trained.root / place
    folder.rename(tmp_path / "disk")
    folder.symlink_to(tmp_path / "disk")
    before = files(trained)
    code, _, error = command(*words)
    assert code == 2
    assert f"{place} is a link in the place of a folder: replace it with" in error
    assert {path for path in files(trained) - before if "locks" not in path.parts} == set()
    folder.unlink()
    (tmp_path / "disk").rename(folder)
    assert command("plan", "line")[1].count("reused") == len(STAGES)


def test_a_training_notes_to_which_store_its_tables_belong(store: Store, command: Command) -> None:
    assert command("train", "line", "--until", "generate")[0] == 0
    note = read_note(store)
    assert note is not None
    assert note.owners == (read_artifacts(store),)
    assert command("check")[0] == 0


def test_two_stores_do_not_share_their_tables(trained: Store, workflow: Finish, tmp_path: Path) -> None:
    own_data(trained)
    other = tmp_path / "other"
    other.mkdir()
    (other / "data").symlink_to(trained.locate("data"))
    done = workflow("plan", "line", home=other)
    assert done.returncode == 2
    assert f"has the tables of another store, {trained.root}, and neither knows what the other needs" in done.stderr
    assert workflow("plan", "line", home=trained.root).returncode == 0
