import json
import shutil
import threading
from pathlib import Path

import pytest

from flows.errors import InputError
from flows.runs.folders import find_folder, find_run, list_runs
from tasks.caching.runs.pointers import point
from tasks.caching.storage.store import Store


@pytest.fixture
def run(trained: Store) -> Path:
    """The folder of the one run in the store."""
    return (trained.runs / "latest").resolve()


def copy_run(run: Path, name: str, created: str) -> Path:
    """Another run, made at another time."""
    folder = run.parent / name
    shutil.copytree(run, folder)
    text = (folder / "run.json").read_text().replace(run.name, name)
    (folder / "run.json").write_text(json.dumps(json.loads(text) | {"created": created}))
    return folder


def test_a_run_is_found_by_name_by_pointer_and_by_path(trained: Store, run: Path) -> None:
    for wanted in (run.name, "latest", "line-latest", str(run), str(run.parent / "latest")):
        assert find_folder(wanted, trained) == run


@pytest.mark.parametrize("wanted", ["", ".", "..", "nope", "nope-latest", "../runs", "a\nb", "x" * 300, "run.json"])
def test_what_is_no_run_is_refused(trained: Store, wanted: str) -> None:
    with pytest.raises(InputError):
        find_folder(wanted, trained)


def test_a_folder_outside_the_runs_is_refused(trained: Store, run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "copy")
    (trained.runs / "link").symlink_to(tmp_path / "copy")
    for wanted in (str(tmp_path / "copy"), "link", str(trained.runs)):
        with pytest.raises(InputError, match="is no run of this project"):
            find_folder(wanted, trained)


def test_the_first_steps_are_reported_where_there_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`workflow train` makes one"):
        find_folder("latest", Store(tmp_path))


def test_a_damaged_manifest_is_reported_with_its_file(trained: Store, run: Path) -> None:
    (run / "run.json").write_text("{")
    with pytest.raises(InputError, match=r"run\.json is damaged"):
        find_run("latest", trained)


def test_runs_are_listed_oldest_first_without_pointers_and_damaged_ones(trained: Store, run: Path) -> None:
    copy_run(run, "line-new", "2999-01-01T00:00:00+00:00")
    copy_run(run, "line-old", "1999-01-01T00:00:00+00:00")
    copy_run(run, "line-bad", "2000-01-01T00:00:00+00:00").joinpath("run.json").write_text("no JSON")
    copy_run(run, "line-torn", "2001-01-01T00:00:00+00:00").joinpath("metrics.json").unlink()
    (trained.runs / "stray").mkdir()
    runs, damaged = list_runs(trained)
    assert [found.folder.name for found in runs] == ["line-old", run.name, "line-new"]
    assert list(damaged) == ["line-bad", "line-torn"]
    assert "metrics.json cannot be read; train again" in damaged["line-torn"]


def test_no_runs_are_no_error(tmp_path: Path) -> None:
    assert list_runs(Store(tmp_path)) == ([], {})


@pytest.mark.parametrize("content", [None, b"", b"{", b"[1]", b"\xff", b"[" * 100_000])
def test_a_verification_that_cannot_be_read_counts_as_none(trained: Store, run: Path, content: bytes | None) -> None:
    (run / "verification.json").unlink()
    if content is not None:
        (run / "verification.json").write_bytes(content)
    assert find_run("latest", trained).verification is None


def test_pointers_are_never_absent_while_they_switch(trained: Store, run: Path) -> None:
    other = copy_run(run, "line-other", "2999-01-01T00:00:00+00:00")
    stop = threading.Event()
    missed: list[str] = []

    def look() -> None:
        while not stop.is_set():
            if not (trained.runs / "latest" / "run.json").is_file():
                missed.append("latest")

    reader = threading.Thread(target=look)
    reader.start()
    for turn in range(100):
        point("latest", (run, other)[turn % 2], trained)
    stop.set()
    reader.join()
    assert not missed
    assert (trained.runs / "latest").resolve() == other
    assert not list(trained.runs.glob(".tmp-*"))


def test_a_pointer_that_is_right_is_left_alone(trained: Store, run: Path) -> None:
    before = (trained.runs / "latest").lstat().st_ino
    point("latest", run, trained)
    assert (trained.runs / "latest").lstat().st_ino == before
