import errno
import os
import resource
import sys
from pathlib import Path

import pytest

from tasks.caching.gc.uses import store_in_use, uses_folder
from tasks.caching.storage.durable import HashingSink, fsync_folder, write_durably
from tasks.caching.storage.errors import (
    ADVICE,
    DESCRIPTORS,
    ROOM,
    describe_error,
    is_transient,
    require_descriptors,
    require_memory,
    require_room,
)
from tasks.caching.storage.stage_checkpoints import StageCheckpointer, StageCheckpoints


@pytest.mark.parametrize("number", sorted(ADVICE), ids=lambda number: errno.errorcode[number])
def test_an_error_of_the_storage_is_reported_with_its_place_and_what_to_do(number):
    reported = describe_error(OSError(number, os.strerror(number), "/somewhere/data"))
    assert reported == f"/somewhere/data: {os.strerror(number)}; {ADVICE[number]}"


def test_an_error_may_pass_that_came_of_one_which_may():
    full = OSError(errno.ENOSPC, "No space left on device")
    wrong = ValueError("wrong")
    for error, cause in ((RuntimeError(), full), (wrong, None), (RuntimeError(), wrong)):
        error.__cause__ = cause
        assert is_transient(error) == (cause is full)


def test_without_a_place_none_is_reported():
    assert describe_error(OSError(errno.EIO, "Input/output error")).startswith("Input/output error; the disk itself")


@pytest.mark.parametrize(
    ("error", "reported"), [(ValueError("wrong"), "wrong"), (ValueError(), "ValueError"), (OSError("odd"), "odd")]
)
def test_any_other_error_is_reported_as_it_is(error, reported):
    assert describe_error(error) == reported


def test_a_store_with_room_is_left_as_it_was(store):
    require_room(store)
    assert [path.name for path in store.root.rglob("*") if path.is_file()] == []


def test_a_disk_that_is_all_but_full_is_refused(store, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": ROOM - 1})())
    with pytest.raises(OSError, match=r"Only 16\.8 MB are free, and 17 are needed") as error:
        require_room(store)
    assert error.value.filename == str(store.locate("data"))


def test_a_folder_that_cannot_be_written_is_named(store, monkeypatch):
    def refuse(sink, data):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(HashingSink, "write", refuse)
    with pytest.raises(OSError, match="Read-only") as error:
        require_room(store)
    assert error.value.filename == str(store.locate("data"))
    assert [path.name for path in store.root.rglob("*") if path.is_file()] == []


def test_a_file_where_a_folder_belongs_is_reported(store):
    store.root.mkdir(parents=True)
    (store.root / "data").touch()
    with pytest.raises(OSError, match="File exists") as error:
        require_room(store)
    assert "out of the way" in describe_error(error.value)


def test_an_artifact_that_cannot_be_written_is_named(store, monkeypatch):
    (store.artifacts / "make").mkdir(parents=True)

    def fail(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error") as error:
        store.publish("make", "a.json", b"{}")
    assert error.value.filename.startswith(str(store.artifacts / "make"))


def test_work_continues_without_a_checkpoint_that_cannot_be_kept(store, monkeypatch):
    notices = []
    checkpoints = StageCheckpoints(store, "train", "a" * 64)
    checkpointer = StageCheckpointer(checkpoints, notices.append, lambda: False)
    checkpointer.keep(1, b"one")

    def fail(sink, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(HashingSink, "write", fail)
        checkpointer.keep(2, b"two")
    assert "No space left on device; free some space" in notices[0]
    assert list(checkpointer.newest_first()) == [b"one"]


def test_of_a_rename_what_was_to_be_replaced_is_named(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError) as error:
        (tmp_path / "file").replace(tmp_path / "folder")
    assert describe_error(error.value).startswith(f"{tmp_path / 'folder'}: Is a directory; move the folder")


def test_with_enough_open_files_none_stays_open():
    before = sorted(Path("/proc/self/fd").iterdir())
    require_descriptors()
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_too_few_open_files_are_refused_and_none_stays_open():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = len(list(Path("/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (before + DESCRIPTORS // 2, hard))
    try:
        with pytest.raises(OSError, match="Too many open files") as error:
            require_descriptors()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "raise the limit (`ulimit -n`)" in describe_error(error.value)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.fixture
def little_memory():
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + 100_000_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_too_little_memory_is_refused_before_libraries_are_loaded(store, little_memory, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    with pytest.raises(MemoryError, match=r"cannot allocate another [\d,]+ MB.*raise the limit \(`ulimit -v`\)"):
        require_room(store)
    assert not is_transient(MemoryError())


def test_once_they_are_loaded_it_is_not(little_memory, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    require_memory()


def test_memory_that_has_run_out_is_reported_in_words():
    assert describe_error(MemoryError()).startswith("Memory has run out; free some, or raise the limit")


def test_what_a_flow_uses_is_noted_or_reported_with_its_place(store, monkeypatch):
    def fail(descriptor, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    with store_in_use(store) as use, monkeypatch.context() as patch:
        patch.setattr(os, "write", fail)
        with pytest.raises(OSError, match="No space left") as error:
            use("artifacts/records/train/a.json")
    assert error.value.filename == str(uses_folder(store))


@pytest.mark.parametrize("operation", ["a file", "its folder"])
def test_a_sync_that_fails_names_what_it_was_for(tmp_path, monkeypatch, operation):
    def fail(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error") as error:
        fsync_folder(tmp_path) if operation == "its folder" else write_durably(tmp_path / "file", b"content")
    assert error.value.filename == str(tmp_path if operation == "its folder" else tmp_path / "file")
