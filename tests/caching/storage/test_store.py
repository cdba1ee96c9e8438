import errno
import fcntl
import hashlib
import io
import os
from array import array
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from subprocess import Popen
from typing import Any, BinaryIO, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.caching.locking.lock import LockFile
from tasks.caching.storage import store as module
from tasks.caching.storage.durable import ensure_folder, replace_file, replace_link
from tasks.caching.storage.errors import describe_error
from tasks.caching.storage.reference import Reference
from tasks.caching.storage.run_name import RunName
from tasks.caching.storage.stage_checkpoints import StageCheckpoints
from tasks.caching.storage.store import (
    EXHAUSTED,
    MOST_HELD,
    MOST_TEXT,
    DamagedArtifactError,
    OutsideStoreError,
    Store,
    UnusableFileError,
    project_store,
    read_file,
)
from tests.caching.conftest import Disk

CONTENT = b"the content of an artifact"
OTHER = b"THE CONTENT OF AN ARTIFACT"


def writing(content: bytes) -> Callable[[BinaryIO], object]:
    return lambda file: file.write(content)


def tree(folder: Path) -> dict[str, bytes | None]:
    """Everything under a folder: the content of files, None for folders."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")
    }


def files(folder: Path) -> list[str]:
    return sorted(name for name, content in tree(folder).items() if content is not None)


class TestPublishing:
    def test_an_artifact_is_on_disk_before_it_has_its_name_and_the_name_before_it_is_reported(
        self, store: Store, disk: Disk
    ) -> None:
        (store.root / "data" / "generate").mkdir(parents=True)
        reference = store.publish("generate", "dataset.parquet", writing(CONTENT))
        final = store.root / reference.path
        temporary = disk.calls[0][1]
        assert disk.calls == [
            ("fsync", temporary, CONTENT),
            ("rename", temporary, final),
            ("fsync", final.parent, None),
        ]
        assert temporary.parent == final.parent

    @pytest.mark.parametrize("fails_at", range(3))
    def test_a_failure_at_any_point_leaves_all_of_the_artifact_or_nothing(
        self, store: Store, disk: Disk, fails_at: int
    ) -> None:
        (store.artifacts / "train").mkdir(parents=True)
        disk.fails_at = fails_at
        with pytest.raises(OSError, match="the disk failed"):
            store.publish("train", "weights.pth", writing(CONTENT))
        was_named = fails_at == 2
        assert [content for content in tree(store.root).values() if content is not None] == [CONTENT] * was_named

    def test_a_writer_that_fails_leaves_nothing(self, store: Store) -> None:
        def write(file: BinaryIO) -> None:
            file.write(CONTENT)
            raise RuntimeError("out of paper")

        with pytest.raises(RuntimeError, match="out of paper"):
            store.publish("train", "weights.pth", write)
        assert files(store.root) == []

    def test_the_name_shows_the_content(self, store: Store) -> None:
        reference = store.publish("train", "weights.best.pth", writing(CONTENT))
        digest = hashlib.sha256(CONTENT).hexdigest()
        assert reference == Reference(f"artifacts/train/weights.best-{digest}.pth", digest, len(CONTENT), "pth")
        assert files(store.root) == [reference.path]

    def test_tables_go_to_data(self, store: Store) -> None:
        assert store.publish("split", "train.parquet", writing(b"")).path.startswith("data/split/train-")

    def test_other_content_gets_another_name_and_the_old_one_stays(self, store: Store) -> None:
        first = store.publish("train", "weights.pth", writing(CONTENT))
        second = store.publish("train", "weights.pth", writing(OTHER))
        assert store.read(first) == CONTENT
        assert store.read(second) == OTHER

    def test_the_same_content_published_twice_is_one_artifact(self, store: Store) -> None:
        first = store.publish("train", "weights.pth", writing(CONTENT))
        assert store.publish("train", "weights.pth", writing(CONTENT)) == first
        assert files(store.root) == [first.path]

    def test_publishing_again_heals_an_altered_artifact(self, store: Store) -> None:
        reference = store.publish("train", "weights.pth", writing(CONTENT))
        (store.root / reference.path).write_bytes(OTHER)
        store.publish("train", "weights.pth", writing(CONTENT))
        assert store.read(reference) == CONTENT

    @given(st.lists(st.binary(max_size=40), max_size=6))
    def test_digest_and_size_are_those_of_the_file_however_it_is_written(
        self, tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]
    ) -> None:
        store = Store(tmp_path_factory.mktemp("store"))
        reference = store.publish("x", "x.json", lambda file: [file.write(part) for part in parts])
        assert reference == Reference.of_content(reference.path, b"".join(parts))
        assert store.read(reference) == b"".join(parts)

    def test_a_buffer_of_wide_items_counts_by_its_bytes(self, store: Store) -> None:
        numbers = array("d", [1.0, 2.0])
        reference = store.publish("x", "x.json", lambda file: file.write(memoryview(numbers)))
        assert reference.size == 16
        assert store.read(reference) == numbers.tobytes()

    def test_a_writer_sees_where_it_is_and_may_close_its_file(self, store: Store) -> None:
        def write(file: BinaryIO) -> None:
            with io.TextIOWrapper(file, write_through=True) as text:
                text.write("12345")
                assert file.tell() == 5

        assert store.publish("x", "x.json", write).size == 5

    def test_the_umask_is_respected(self, store: Store, umask: int) -> None:
        reference = store.publish("train", "weights.pth", writing(CONTENT))
        store.publish_run("line-1", {"run.json": CONTENT})
        for name in (reference.path, "artifacts/runs/line-1/run.json"):
            assert (store.root / name).stat().st_mode & 0o777 == 0o666 & ~umask
            assert (store.root / name).parent.stat().st_mode & 0o777 == 0o777 & ~umask

    def test_processes_that_publish_the_same_artifact_at_once_all_succeed(
        self, store: Store, start_python: Callable[..., Popen[str]]
    ) -> None:
        code = """
import sys
from pathlib import Path
from tasks.caching.storage.store import Store
store = Store(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for turn in range(20):
    reference = store.publish("train", f"part{turn}.pth", lambda file: file.write(b"x" * 1000 + bytes([turn])))
    store.path(reference)
"""
        processes = [start_python(code, store.root) for _ in range(3)]
        for process in processes:
            process.stdout.readline()
        for process in processes:
            print("go", file=process.stdin, flush=True)
        assert [process.wait(timeout=20) for process in processes] == [0, 0, 0]
        names = files(store.root)
        assert len(names) == 20
        assert all(hashlib.sha256((store.root / name).read_bytes()).hexdigest() in name for name in names)


@pytest.fixture(params=[0o022, 0o077, 0o002])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def remove(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(CONTENT[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def grow(path: Path) -> None:
    path.write_bytes(CONTENT + b"\0")


def flip_a_bit(path: Path) -> None:
    path.write_bytes(bytes([CONTENT[0] ^ 1]) + CONTENT[1:])


def link_to_a_copy(path: Path) -> None:
    path.rename(path.with_name("copy"))
    path.symlink_to("copy")


def link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def link_the_folder(path: Path) -> None:
    path.parent.rename(path.parents[1] / "elsewhere")
    path.parent.symlink_to("elsewhere")


def make_a_folder_of_it(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_a_pipe_of_it(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


class TestReading:
    @pytest.mark.parametrize(
        ("damage", "said"),
        [
            (remove, "artifact missing: "),
            (truncate, "has 25 bytes instead of 26"),
            (empty, "has 0 bytes instead of 26"),
            (grow, "has 27 bytes instead of 26"),
            (flip_a_bit, "no longer has its SHA-256"),
            (link_to_a_copy, "replaced by a link or a folder"),
            (link_to_itself, "replaced by a link or a folder"),
            (link_the_folder, "replaced by a link or a folder"),
            (make_a_folder_of_it, "replaced by a link or a folder"),
            (make_a_pipe_of_it, "replaced by a link or a folder"),
        ],
    )
    @pytest.mark.parametrize("seen", [True, False], ids=["seen before", "not seen before"])
    def test_a_damaged_artifact_is_refused_by_name(
        self, store: Store, damage: Callable[[Path], None], said: str, seen: bool
    ) -> None:
        reference = store.publish("train", "weights.pth", writing(CONTENT))
        path = store.root / reference.path
        if seen:
            assert store.path(reference) == path
        damage(path)
        if seen and not path.is_symlink() and path.is_file():
            os.utime(path, ns=(1, 1))  # as if a tick of the file system's clock had passed
        for read in (store.path, store.read):
            with pytest.raises(DamagedArtifactError, match=said) as error:
                read(reference)
            assert reference.path in str(error.value)

    @pytest.mark.parametrize("offset", range(len(CONTENT)))
    def test_a_flipped_bit_is_noticed_anywhere(self, store: Store, offset: int) -> None:
        reference = store.publish("train", "weights.pth", writing(CONTENT))
        altered = bytearray(CONTENT)
        altered[offset] ^= 1 << offset % 8
        (store.root / reference.path).write_bytes(altered)
        with pytest.raises(DamagedArtifactError):
            store.path(reference)

    def test_a_file_is_hashed_once_for_as_long_as_nothing_touches_it(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hashed: list[Path] = []
        digest = module.file_digest
        monkeypatch.setattr(module, "file_digest", lambda path: hashed.append(path) or digest(path))
        reference = store.publish("train", "weights.pth", writing(CONTENT))
        for _ in range(3):
            store.path(reference)
        assert len(hashed) == 1

    def test_a_file_rewritten_with_the_same_size_is_hashed_again(self, store: Store) -> None:
        reference = store.publish("train", "weights.pth", writing(CONTENT))
        path = store.path(reference)
        path.write_bytes(OTHER)
        os.utime(path, ns=(1, 1))
        with pytest.raises(DamagedArtifactError):
            store.path(reference)
        path.write_bytes(CONTENT)
        os.utime(path, ns=(2, 2))
        assert store.path(reference) == path

    def test_a_file_altered_behind_an_unchanged_mtime_is_hashed_again(self, store: Store) -> None:
        reference = store.publish("train", "weights.pth", writing(CONTENT))
        path = store.path(reference)
        before = path.stat()
        while path.stat().st_ctime_ns == before.st_ctime_ns:  # the file system's clock ticks every few milliseconds
            path.write_bytes(OTHER)
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        with pytest.raises(DamagedArtifactError):
            store.path(reference)

    def test_the_bytes_read_are_the_bytes_checked(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        reference = store.publish("train", "weights.pth", writing(CONTENT))
        monkeypatch.setattr(Path, "read_bytes", lambda path: OTHER)
        with pytest.raises(DamagedArtifactError, match="changed while it was read"):
            store.read(reference)

    @given(st.text(st.sampled_from("./\\a~\0\n \ud800…"), max_size=12))
    def test_no_reference_leads_out_of_the_root(self, tmp_path_factory: pytest.TempPathFactory, path: str) -> None:
        try:
            reference = Reference.of_content(path, CONTENT)
        except ValueError:
            return
        store = Store(tmp_path_factory.getbasetemp() / "nothing here")
        assert Path(os.path.normpath(store.root / reference.path)).is_relative_to(store.root)
        with pytest.raises(DamagedArtifactError):
            store.path(reference)

    @pytest.mark.parametrize(
        "path",
        [
            "",
            ".",
            "..",
            "/",
            "/data/x",
            "data/../x",
            "data/..",
            "artifacts/runs/../../../x",
            "flows/app.py",
            "data/\0",
        ],
    )
    def test_no_path_leads_out_of_the_store(self, store: Store, path: str) -> None:
        with pytest.raises(OutsideStoreError, match="is not in the store"):
            store.locate(path)

    def test_more_than_can_be_held_in_memory_is_not_read(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        reference = store.publish("train", "model.json", writing(b'{"a": 1}'))
        with pytest.raises(DamagedArtifactError, match=r"artifact too large: .* has 8 bytes; at most 7 are read"):
            store.read(reference, most=7)
        assert store.read(reference, most=8) == b'{"a": 1}'
        huge = replace(reference, size=1 << 40)
        for read, most in ((store.read, MOST_HELD), (store.read_object, MOST_TEXT)):
            with pytest.raises(DamagedArtifactError, match=f"has 1,099,511,627,776 bytes; at most {most:,} are read"):
                read(huge)

    def test_a_file_outside_is_not_reached_through_a_link_in_the_path(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "secret.json").write_bytes(CONTENT)
        store.artifacts.mkdir(parents=True)
        (store.artifacts / "out").symlink_to(tmp_path)
        with pytest.raises(DamagedArtifactError, match="replaced by a link"):
            store.path(Reference.of_content("artifacts/out/secret.json", CONTENT))

    def test_a_store_may_itself_be_reached_through_a_link(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to("real")
        store = Store(tmp_path / "link")
        assert store.read(store.publish("train", "weights.pth", writing(CONTENT))) == CONTENT

    def test_a_wrong_size_alone_is_enough_to_refuse(self, store: Store) -> None:
        reference = store.publish("train", "weights.pth", writing(CONTENT))
        with pytest.raises(DamagedArtifactError):
            store.path(replace(reference, size=reference.size + 1))


RUN = {"run.json": b"{}", "line.pth": CONTENT, "plots/loss.png": b"png"}


class TestRuns:
    def test_a_run_has_all_of_its_files_under_their_names(self, store: Store) -> None:
        references = store.publish_run("line-1", RUN)
        assert {name: store.read(reference) for name, reference in references.items()} == RUN
        assert references["plots/loss.png"].path == "artifacts/runs/line-1/plots/loss.png"
        assert files(store.runs / "line-1") == sorted(RUN)

    def test_every_file_and_folder_is_on_disk_before_the_run_has_its_name(self, store: Store, disk: Disk) -> None:
        store.runs.mkdir(parents=True)
        store.publish_run("line-1", RUN)
        place = next(place for place, call in enumerate(disk.calls) if call[0] == "rename")
        before, moved, after, noted = disk.calls[:place], disk.calls[place], disk.calls[place + 1], disk.calls[-1]
        temporary = moved[1]
        assert moved == ("rename", temporary, store.runs / "line-1")
        assert after == ("fsync", store.runs, None)
        assert noted == ("fsync", store.saved, None)
        assert before == [
            *[("fsync", temporary / name, content) for name, content in RUN.items()],
            ("fsync", temporary, None),
            ("fsync", temporary / "plots", None),
        ]
        assert temporary.parent == store.runs

    @pytest.mark.parametrize("fails_at", range(7))
    def test_a_failure_at_any_point_leaves_the_whole_run_or_nothing(
        self, store: Store, disk: Disk, fails_at: int
    ) -> None:
        store.runs.mkdir(parents=True)
        disk.fails_at = fails_at
        with pytest.raises(OSError, match="the disk failed"):
            store.publish_run("line-1", RUN)
        assert [path.name for path in store.runs.iterdir()] == ["line-1"] * (fails_at == 6)
        assert files(store.runs) == [f"line-1/{name}" for name in sorted(RUN)] * (fails_at == 6)

    def test_an_existing_run_is_not_replaced(self, store: Store) -> None:
        store.publish_run("line-1", RUN)
        before = tree(store.root)
        with pytest.raises(OSError, match="line-1"):
            store.publish_run("line-1", {"run.json": b"other"})
        assert tree(store.root) == before

    @pytest.mark.parametrize("run", ["../line-1", "/tmp/line-1", "a/../../line-1", "line\0"])  # noqa: S108
    def test_a_run_whose_name_leads_elsewhere_is_refused_and_writes_nothing(self, store: Store, run: str) -> None:
        with pytest.raises(ValueError, match=r"must stay inside|is not in the subpath"):
            store.publish_run(run, RUN)
        assert not store.root.exists()

    @pytest.mark.parametrize("name", ["../x.json", "/tmp/x.json", "plots/../../x.json"])  # noqa: S108
    def test_a_file_whose_name_leads_elsewhere_is_refused_and_writes_nothing(self, store: Store, name: str) -> None:
        with pytest.raises(ValueError, match=r"must stay inside|is not in the subpath"):
            store.publish_run("line-1", {"run.json": b"{}", name: b""})
        assert not store.root.exists()


class TestRemoving:
    def test_nothing_is_published_between_the_look_and_the_removal(self, store: Store) -> None:
        path = store.locate(store.publish("train", "weights.pth", CONTENT).path)

        def is_old(path: Path) -> bool:
            with LockFile(path.parent, os.O_RDONLY) as publisher, pytest.raises(BlockingIOError):
                fcntl.flock(publisher.descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return True

        assert store.remove_if(path, is_old)
        assert not path.exists()


class TestSettingAside:
    def test_it_is_on_disk_where_it_went_and_gone_from_where_it_was(self, store: Store, disk: Disk) -> None:
        path = store.root / store.publish("train", "weights.pth", CONTENT).path
        disk.calls.clear()
        place = store.set_aside(path)
        there = store.root / place / path.relative_to(store.root)
        moved = disk.calls.index(("rename", path, there))
        assert sorted(disk.calls[moved + 1 :]) == sorted([("fsync", there.parent, None), ("fsync", path.parent, None)])
        assert all(call == ("fsync", call[1], None) for call in disk.calls[:moved]), "its folders come before"
        assert there.read_bytes() == CONTENT
        assert not path.exists()


class TestFolders:
    def test_a_new_folder_is_on_disk_before_anything_is_kept_in_it(self, tmp_path: Path, disk: Disk) -> None:
        ensure_folder(tmp_path / "a" / "b" / "c")
        assert disk.calls == [("fsync", folder, None) for folder in (tmp_path, tmp_path / "a", tmp_path / "a" / "b")]

    def test_one_that_is_there_costs_nothing(self, tmp_path: Path, disk: Disk) -> None:
        ensure_folder(tmp_path)
        assert disk.calls == []

    @pytest.mark.parametrize(
        "keep",
        [
            lambda store: store.publish("train", "weights.pth", CONTENT),
            lambda store: store.publish_run("line-1", RUN),
            lambda store: replace_file(store.root / "artifacts" / "records" / "last.json", CONTENT),
            lambda store: replace_link(store.runs / "latest", "line-1"),
            lambda store: StageCheckpoints(store, "train", "0" * 64).keep(1, CONTENT),
        ],
    )
    def test_whatever_is_kept_first_makes_its_folders_durably(
        self, store: Store, disk: Disk, keep: Callable[[Store], object]
    ) -> None:
        keep(store)
        assert ("fsync", store.root, None) in disk.calls
        assert ("fsync", store.root / "artifacts", None) in disk.calls


class TestReplacing:
    def test_a_file_is_replaced_durably_and_at_once(self, tmp_path: Path, disk: Disk) -> None:
        path = tmp_path / "records" / "last.json"
        path.parent.mkdir()
        replace_file(path, b"old")
        replace_file(path, b"new")
        temporary = disk.calls[3][1]
        assert disk.calls[3:] == [
            ("fsync", temporary, b"new"),
            ("rename", temporary, path),
            ("fsync", path.parent, None),
        ]
        assert tree(tmp_path) == {"records": None, "records/last.json": b"new"}

    @pytest.mark.parametrize("fails_at", range(2))
    def test_a_failure_leaves_the_old_file(self, tmp_path: Path, disk: Disk, fails_at: int) -> None:
        (tmp_path / "last.json").write_bytes(b"old")
        disk.fails_at = fails_at
        with pytest.raises(OSError, match="the disk failed"):
            replace_file(tmp_path / "last.json", b"new")
        assert tree(tmp_path) == {"last.json": b"old"}

    def test_a_link_is_made_and_moved(self, tmp_path: Path) -> None:
        link = tmp_path / "runs" / "latest"
        for target in ("line-1", "line-2"):
            replace_link(link, target)
            assert link.readlink() == Path(target)
        assert [path.name for path in link.parent.iterdir()] == ["latest"]

    def test_a_link_always_points_somewhere(self, tmp_path: Path, disk: Disk) -> None:
        link = tmp_path / "latest"
        link.symlink_to("line-1")
        replace_link(link, "line-2")
        moved, synced = disk.calls  # one rename over the old link: it is never removed first
        assert moved[0] == "rename"
        assert moved[2] == link
        assert synced == ("fsync", tmp_path, None)

    def test_a_link_that_cannot_be_moved_keeps_its_target(self, tmp_path: Path, disk: Disk) -> None:
        link = tmp_path / "latest"
        link.symlink_to("line-1")
        disk.fails_at = 0
        with pytest.raises(OSError, match="the disk failed"):
            replace_link(link, "line-2")
        assert link.readlink() == Path("line-1")
        assert list(tmp_path.iterdir()) == [link]


class TestProjectStore:
    @pytest.fixture(autouse=True)
    def _forget(self) -> Iterator[None]:
        project_store.cache_clear()
        yield
        project_store.cache_clear()

    def test_it_is_where_workflow_home_says(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WORKFLOW_HOME", str(tmp_path))
        assert project_store().root == tmp_path.resolve()

    def test_it_is_else_the_checkout(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("WORKFLOW_HOME", raising=False)
        assert (project_store().root / "pyproject.toml").is_file()

    def test_an_empty_workflow_home_is_none(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("WORKFLOW_HOME", "")
        assert project_store().root == Path(__file__).resolve().parents[3]

    def test_it_is_one_for_the_whole_process(self) -> None:
        assert project_store() is project_store()


class TestClaims:
    def test_a_name_is_given_once(self, store: Store) -> None:
        with store.reserved_run(RunName("line", "1")) as first, store.reserved_run(RunName("line", "1")) as second:
            assert (first, second) == ("line-1", "line-1-2")

    def test_a_claim_without_a_run_leaves_nothing(self, store: Store) -> None:
        with store.reserved_run(RunName("line", "1")):
            pass
        assert list(store.runs.iterdir()) == []

    def test_a_run_takes_the_place_of_its_claim(self, store: Store) -> None:
        with store.reserved_run(RunName("line", "1")) as run:
            store.publish_run(run, {"run.json": b"{}"})
        assert (store.runs / "line-1" / "run.json").read_bytes() == b"{}"


def test_data_and_artifacts_may_be_links_to_another_disk(store: Store, tmp_path: Path) -> None:
    for top in ("data", "artifacts"):
        (tmp_path / f"disk/{top}").mkdir(parents=True)
        store.root.mkdir(exist_ok=True)
        (store.root / top).symlink_to(tmp_path / f"disk/{top}")
    for name in ("rows.parquet", "model.json"):
        reference = store.publish("make", name, b"content")
        assert store.read(reference) == b"content"
        assert reference.path.startswith(("data/make/rows-", "artifacts/make/model-"))


def refuse_to_open(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Lets no file be opened any more."""

    def fail(path: Path, *arguments: Any, **options: Any) -> NoReturn:
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(Path, "open", fail)


class TestReadingWhereTheSystemRefuses:
    """A file that cannot be read is damaged; a process that can open no more says nothing of any file."""

    @pytest.mark.parametrize("code", [errno.EIO, errno.EACCES], ids=lambda code: errno.errorcode[code])
    def test_an_artifact_that_the_disk_does_not_give_is_damaged(
        self, store: Store, monkeypatch: pytest.MonkeyPatch, code: int
    ) -> None:
        reference = store.publish("train", "weights.pth", CONTENT)
        refuse_to_open(monkeypatch, code)
        with pytest.raises(DamagedArtifactError, match=f"artifact unreadable: .*: {os.strerror(code)}"):
            store.path(reference)

    @pytest.mark.parametrize("code", sorted(EXHAUSTED), ids=lambda code: errno.errorcode[code])
    def test_no_artifact_is_damaged_where_none_can_be_opened(
        self, store: Store, monkeypatch: pytest.MonkeyPatch, code: int
    ) -> None:
        reference = store.publish("train", "weights.pth", CONTENT)
        refuse_to_open(monkeypatch, code)
        with pytest.raises(OSError, match=os.strerror(code)):
            store.path(reference)

    def test_a_plain_file_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(CONTENT)
        assert read_file(tmp_path / "file") == CONTENT
        with pytest.raises(FileNotFoundError):
            read_file(tmp_path / "nothing")

    @pytest.mark.parametrize("damage", [link_to_a_copy, link_to_itself, make_a_folder_of_it, make_a_pipe_of_it])
    def test_nothing_else_is(self, tmp_path: Path, damage: Callable[[Path], None]) -> None:
        (tmp_path / "file").write_bytes(CONTENT)
        damage(tmp_path / "file")
        with pytest.raises(UnusableFileError, match=r"Is a (directory|link or a device)"):
            read_file(tmp_path / "file")

    @pytest.mark.parametrize("code", [errno.EIO, errno.EACCES], ids=lambda code: errno.errorcode[code])
    def test_a_file_that_the_disk_does_not_give_is_unusable(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
    ) -> None:
        (tmp_path / "file").write_bytes(CONTENT)
        refuse_to_open(monkeypatch, code)
        with pytest.raises(UnusableFileError, match=os.strerror(code)):
            read_file(tmp_path / "file")

    @pytest.mark.parametrize("code", sorted(EXHAUSTED), ids=lambda code: errno.errorcode[code])
    def test_no_file_is_unusable_where_none_can_be_opened(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
    ) -> None:
        (tmp_path / "file").write_bytes(CONTENT)
        refuse_to_open(monkeypatch, code)
        with pytest.raises(OSError, match=os.strerror(code)):
            read_file(tmp_path / "file")


def test_a_run_that_cannot_be_set_aside_is_not_forgotten(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.publish_run("line-1", {"run.json": b"{}"})
    store.remember_run("line-1", verified=True)

    def replace(path: Path, target: Path) -> NoReturn:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(path))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", replace)
        with pytest.raises(OSError, match="cross-device") as caught:
            store.set_aside(store.runs / "line-1")
    assert "only data/ and artifacts/ as a whole can be separate disks" in describe_error(caught.value)
    assert store.was_verified("line-1")
    store.set_aside(store.runs / "line-1")
    assert not (store.saved / "line-1").exists()


def test_nothing_is_set_aside_through_a_link(store: Store, tmp_path: Path) -> None:
    table = store.publish("make", "table.parquet", b"table")
    (tmp_path / "elsewhere").mkdir()
    store.artifacts.mkdir(exist_ok=True)
    (store.artifacts / "set-aside").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotADirectoryError, match="Is a link, and nothing is moved through links"):
        store.set_aside(store.locate(table.path))
    assert store.path(table).is_file()
