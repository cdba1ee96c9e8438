"""Resumable states: two generations, each whole or not offered, gone when the stage has its record."""

import errno
import os
import signal
from pathlib import Path

import pytest

from tasks.caching.stage import StageContext
from tasks.caching.storage.states import Checkpointer, States

KEY = "a" * 64


@pytest.fixture
def states(store):
    return States(store, "train", KEY)


@pytest.fixture
def notices():
    return []


@pytest.fixture
def checkpointer(states, notices):
    return Checkpointer(states, notices.append, lambda: False)


def files(store):
    return sorted(path for path in (store.artifacts / "states" / "train" / KEY).glob("*") if path.is_file())


def test_keeps_the_last_two(states, store):
    for step in (5, 10, 15):
        states.keep(step, b"state %d" % step)
    assert [content for _, content in states.newest()] == [b"state 15", b"state 10"]
    assert len(files(store)) == 2


def test_newest_is_by_number_and_not_by_text(states):
    states.keep(9, b"nine")
    states.keep(1000, b"thousand")
    assert [content for _, content in states.newest()] == [b"thousand", b"nine"]


def test_a_state_is_on_disk_with_its_name_before_an_older_one_goes(states, store, disk, monkeypatch):
    removals = []
    unlink = os.unlink
    monkeypatch.setattr(os, "unlink", lambda path, **options: (removals.append(len(disk.calls)), unlink(path)))
    for step in (1, 2, 3):
        states.keep(step, b"state %d" % step)
    newest = files(store)[-1]
    *_, written, named, synced = disk.calls
    assert written == ("fsync", named[1], b"state 3")
    assert named == ("rename", named[1], newest)
    assert synced == ("fsync", newest.parent, None)
    assert removals[-1] == len(disk.calls)


def test_a_failing_write_leaves_the_states_as_they_were(states, store):
    def fail(file):
        file.write(b"half")
        raise OSError("disk full")

    states.keep(1, b"one")
    before = files(store)
    with pytest.raises(OSError, match="disk full"):
        states.keep(2, fail)
    assert files(store) == before


@pytest.mark.parametrize("damage", ["truncated", "altered", "empty", "link", "folder"])
def test_a_damaged_state_is_set_aside_and_said_so(states, checkpointer, notices, store, damage):
    states.keep(1, b"older")
    states.keep(2, b"newer")
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
    assert list(checkpointer.states()) == [b"older"]
    assert "damaged" in notices[0]
    assert not newest.exists()
    assert [path.name for path in store.root.glob(f"artifacts/set-aside/*/artifacts/states/train/{KEY}/*")] == [
        newest.name
    ]


def test_a_state_that_is_refused_is_set_aside(states, checkpointer, notices, store):
    states.keep(1, b"of another training")
    for _ in checkpointer.states():
        checkpointer.refuse("it does not fit")
    assert files(store) == []
    assert notices[0].endswith("it does not fit")


def test_foreign_files_are_left_alone(states, store):
    states.keep(1, b"one")
    (files(store)[0].parent / "notes.txt").write_text("mine")
    states.clear()
    assert [path.name for path in files(store)] == ["notes.txt"]


def test_clear_removes_all(states, store):
    states.keep(1, b"one")
    states.clear()
    assert list(states.newest()) == []
    assert not (store.artifacts / "states" / "train" / KEY).exists()


def test_states_of_another_key_are_not_offered(states, store):
    states.keep(1, b"one")
    assert list(States(store, "train", "b" * 64).newest()) == []


def test_a_desk_without_states_has_no_keepsake(store):
    with StageContext("train", store).resumable() as checkpointer:
        assert checkpointer is None


def test_work_that_takes_long_does_not_begin_after_an_interruption_that_was_lost(states, store, monkeypatch):
    monkeypatch.setattr("tasks.caching.interruption.interruptions", [signal.SIGINT])
    with pytest.raises(KeyboardInterrupt), StageContext("train", store, states=states).resumable():
        pytest.fail("it began")


def test_no_state_is_set_aside_because_no_file_can_be_opened(states, checkpointer, notices, store, monkeypatch):
    def fail(path, *arguments, **options):
        raise OSError(errno.EMFILE, "Too many open files", str(path))

    states.keep(1, b"one")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", fail)
        with pytest.raises(OSError, match="Too many open files"):
            list(checkpointer.states())
    assert list(checkpointer.states()) == [b"one"]
    assert notices == []


def test_it_says_from_which_state_the_work_resumes(states, notices):
    resumed = []
    states.keep(750, b"seven hundred and fifty")
    checkpointer = Checkpointer(states, notices.append, lambda: False, lambda *place: resumed.append(place))
    assert next(checkpointer.states()) == b"seven hundred and fifty"
    checkpointer.resumed("epoch 375")
    assert (resumed, notices) == ([(750, "epoch 375")], [])
