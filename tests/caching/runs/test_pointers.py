"""Files and folders in the place of a pointer are found, set aside by a repair, and never overwritten."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.caching.gc.inspection import inspect_store
from tasks.caching.gc.repair import repair_store
from tasks.caching.runs.pointers import PointerError, is_pointer, point, pointers, require_pointers, what_is_wrong
from tasks.caching.storage.store import Store
from tests.caching.conftest import save_run


@pytest.fixture
def saved(store: Store) -> Store:
    """A store with one run and no pointers."""
    save_run(store, "line-1", 1)
    return store


def put_folder(path: Path) -> None:
    path.mkdir()


def put_full_folder(path: Path) -> None:
    path.mkdir()
    (path / "notes.txt").write_text("mine")


def put_run(path: Path) -> None:
    """As `cp -rL` and other tools that follow links leave it."""
    shutil.copytree(path.parent / "line-1", path)


def put_file(path: Path) -> None:
    path.write_text("line-1")


def put_link_to_nowhere(path: Path) -> None:
    path.symlink_to("gone")


def put_link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def put_link_out(path: Path) -> None:
    path.symlink_to(path.parents[3])


def put_link_to_a_file(path: Path) -> None:
    path.symlink_to("line-1/run.json")


def put_link_into_a_run(path: Path) -> None:
    (path.parent / "line-1" / "plots").mkdir()
    path.symlink_to("line-1/plots")


#: Files and folders in the place of a pointer, and links that lead to no run.
OBSTACLES = [put_folder, put_full_folder, put_run, put_file]
ASTRAY = [put_link_to_nowhere, put_link_to_itself, put_link_out, put_link_to_a_file, put_link_into_a_run]


@pytest.mark.parametrize("name", ["latest", "line-latest", "n" * 64 + "-latest"])
@pytest.mark.parametrize("put", [*OBSTACLES, *ASTRAY])
def test_what_is_no_pointer_is_one_finding_and_set_aside(saved: Store, put: Callable[[Path], None], name: str) -> None:
    put(saved.runs / name)
    inspection = inspect_store(saved)
    assert [(finding.path, finding.kind) for finding in inspection.problems] == [(f"artifacts/runs/{name}", "damaged")]
    outside = sorted(saved.root.parent.iterdir())
    repair = repair_store(saved, inspection)
    assert list(repair.set_aside) == [f"artifacts/runs/{name}"]
    assert repair.remaining.problems == []
    assert sorted(path.name for path in saved.runs.iterdir()) == ["line-1"]
    assert sorted(saved.root.parent.iterdir()) == outside


@pytest.mark.parametrize("put", OBSTACLES)
def test_nothing_but_a_link_is_replaced(saved: Store, put: Callable[[Path], None]) -> None:
    put(saved.runs / "line-latest")
    said = r"line-latest is a (file|folder) in the place of a pointer .*`workflow check --repair` moves it"
    with pytest.raises(PointerError, match=said):
        require_pointers("line", saved)
    with pytest.raises(PointerError, match=said):
        point("line-latest", saved.runs / "line-1", saved)
    assert not (saved.runs / "line-latest").is_symlink()
    assert not list(saved.runs.glob(".tmp-*"))


@pytest.mark.parametrize("put", ASTRAY)
def test_a_link_that_leads_astray_is_replaced(saved: Store, put: Callable[[Path], None]) -> None:
    put(saved.runs / "latest")
    require_pointers("line", saved)
    point("latest", saved.runs / "line-1", saved)
    assert (saved.runs / "latest").readlink() == Path("line-1")
    assert what_is_wrong(saved.runs / "latest", saved) == ""
    assert inspect_store(saved).findings == []


def test_other_links_to_runs_are_pointers_too(saved: Store) -> None:
    (saved.runs / "best").symlink_to("line-1")
    (saved.runs / "latest").symlink_to("best")
    assert inspect_store(saved).findings == []
    (saved.runs / "worst").symlink_to("gone")
    assert [finding.path for finding in inspect_store(saved).problems] == ["artifacts/runs/worst"]


@pytest.mark.parametrize("name", ["line", "a.b-c", "latest", "n" * 64])
def test_pointers_are_known_by_their_names(name: str) -> None:
    assert all(map(is_pointer, pointers(name)))


@pytest.mark.parametrize(
    "name", ["line-20260102-030405", "line", "latest-1", "", "-latest", "n" * 65 + "-latest", "ü-latest"]
)
def test_and_runs_by_theirs(name: str) -> None:
    assert not is_pointer(name)
