"""Stage checkpoints: two generations, each whole or not yielded, gone when the stage has its record."""

import errno
import os
import signal
from pathlib import Path

import pytest

from tasks.caching.stage import StageContext
from tasks.caching.storage.stage_checkpoints import StageCheckpointer, StageCheckpoints

KEY = "a" * 64


@pytest.fixture
def checkpoints(store):
    return StageCheckpoints(store, "train", KEY)


@pytest.fixture
def notices():
    return []


@pytest.fixture
def checkpointer(checkpoints, notices):
    return StageCheckpointer(checkpoints, notices.append, lambda: False)


def files(store):
    return sorted(path for path in (store.artifacts / "states" / "train" / KEY).glob("*") if path.is_file())


def test_keeps_the_last_two(checkpoints, store):
    for step in (5, 10, 15):
        checkpoints.keep(step, b"step %d" % step)
    assert [content for _, content in checkpoints.newest()] == [b"step 15", b"step 10"]
    assert len(files(store)) == 2


def test_newest_is_by_number_and_not_by_text(checkpoints):
    checkpoints.keep(9, b"nine")
    checkpoints.keep(1000, b"thousand")
    assert [content for _, content in checkpoints.newest()] == [b"thousand", b"nine"]


def test_a_checkpoint_is_on_disk_with_its_name_before_an_older_one_goes(checkpoints, store, disk, monkeypatch):
    removals = []
    unlink = os.unlink
    monkeypatch.setattr(os, "unlink", lambda path, **options: (removals.append(len(disk.calls)), unlink(path)))
    for step in (1, 2, 3):
        checkpoints.keep(step, b"step %d" % step)
    newest = files(store)[-1]
    *_, written, named, synced = disk.calls
    assert written == ("fsync", named[1], b"step 3")
    assert named == ("rename", named[1], newest)
    assert synced == ("fsync", newest.parent, None)
    assert removals[-1] == len(disk.calls)


def test_a_failing_write_leaves_the_checkpoints_as_they_were(checkpoints, store):
    def fail(file):
        file.write(b"half")
        raise OSError("disk full")

    checkpoints.keep(1, b"one")
    before = files(store)
    with pytest.raises(OSError, match="disk full"):
        checkpoints.keep(2, fail)
    assert files(store) == before


@pytest.mark.parametrize("damage", ["truncated", "altered", "empty", "link", "folder"])
def test_a_damaged_checkpoint_is_set_aside_and_reported(checkpoints, checkpointer, notices, store, damage):
    checkpoints.keep(1, b"older")
    checkpoints.keep(2, b"newer")
    newest = files(store)[-1]
    content = newest.read_bytes()
    newest.unlink()
    if damage == "link":
        (store.root / "elsewhere").write_bytes(content)
        newest.symlink_to(store.root / "elsewhere")
    elif damage == "folder":
        newest.mkdir()
    else:
        newest.write_bytes({"truncated": content[:-1], "altered": b"never", "empty": b""}[damage])
    assert list(checkpointer.newest_first()) == [b"older"]
    assert "damaged" in notices[0]
    assert not newest.exists()
    assert [path.name for path in store.root.glob(f"artifacts/set-aside/*/artifacts/states/train/{KEY}/*")] == [
        newest.name
    ]


def test_a_checkpoint_that_is_refused_is_set_aside(checkpoints, checkpointer, notices, store):
    checkpoints.keep(1, b"of another training")
    for _ in checkpointer.newest_first():
        checkpointer.refuse("it does not fit")
    assert files(store) == []
    assert notices[0].endswith("it does not fit")


def test_foreign_files_are_left_alone(checkpoints, store):
    checkpoints.keep(1, b"one")
    (files(store)[0].parent / "notes.txt").write_text("mine")
    checkpoints.clear()
    assert [path.name for path in files(store)] == ["notes.txt"]


def test_clear_removes_all(checkpoints, store):
    checkpoints.keep(1, b"one")
    checkpoints.clear()
    assert list(checkpoints.newest()) == []
    assert not (store.artifacts / "states" / "train" / KEY).exists()


def test_checkpoints_of_another_key_are_not_found(checkpoints, store):
    checkpoints.keep(1, b"one")
    assert list(StageCheckpoints(store, "train", "b" * 64).newest()) == []


def test_a_context_without_stage_checkpoints_has_no_checkpointer(store):
    with StageContext("train", store).resumable() as checkpointer:
        assert checkpointer is None


def test_work_that_takes_long_does_not_begin_after_an_interruption_that_was_lost(checkpoints, store, monkeypatch):
    monkeypatch.setattr("tasks.caching.interruption.interruptions", [signal.SIGINT])
    with pytest.raises(KeyboardInterrupt), StageContext("train", store, stage_checkpoints=checkpoints).resumable():
        pytest.fail("it began")


def test_no_checkpoint_is_set_aside_because_no_file_can_be_opened(
    checkpoints, checkpointer, notices, store, monkeypatch
):
    def fail(path, *arguments, **options):
        raise OSError(errno.EMFILE, "Too many open files", str(path))

    checkpoints.keep(1, b"one")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", fail)
        with pytest.raises(OSError, match="Too many open files"):
            list(checkpointer.newest_first())
    assert list(checkpointer.newest_first()) == [b"one"]
    assert notices == []


def test_it_reports_from_which_checkpoint_the_work_resumes(checkpoints, notices):
    resumed = []
    checkpoints.keep(750, b"seven hundred and fifty")
    checkpointer = StageCheckpointer(checkpoints, notices.append, lambda: False, lambda *place: resumed.append(place))
    assert next(checkpointer.newest_first()) == b"seven hundred and fifty"
    checkpointer.resumed("epoch 375")
    assert (resumed, notices) == ([(750, "epoch 375")], [])
