"""Foreign names in a store: each is one finding, and no command fails because of it."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.caching.gc.collection import collect
from tasks.caching.gc.garbage import Keep, find_garbage
from tasks.caching.gc.inspection import Inspection, inspect_store
from tasks.caching.gc.repair import repair_store
from tasks.caching.gc.uses import find_uses, store_in_use
from tasks.caching.storage.contents import artifacts_in, files, is_published, temporaries
from tasks.caching.storage.store import Store
from tests.caching.conftest import save_run

#: Names that file managers and users give to copies, and names that only a test gives.
ODD = ["コピー\u30001", "a\nb", os.fsdecode(b"\xff\xfe"), "n" * 255, "\x1b[2J", ".DS_Store", "-rf", "a (copy)", "ü"]

PLACES = [
    *("data", "data/make", "artifacts", "artifacts/make", "artifacts/runs", "artifacts/runs/line-1"),
    *("artifacts/runs/line-1/plots", "artifacts/records", "artifacts/records/make", "artifacts/records/last"),
    *("artifacts/states", "artifacts/states/train"),
]


def put_file(path: Path) -> None:
    path.write_text("mine")


def put_folder(path: Path) -> None:
    path.mkdir()


def put_full_folder(path: Path) -> None:
    path.mkdir()
    for name in ("one", "two", "three"):
        (path / name).write_text("mine")


@pytest.fixture
def saved(store: Store) -> Store:
    """A store with one run and a pointer to it."""
    save_run(store, "line-1", 1)
    (store.runs / "latest").symlink_to("line-1")
    return store


def found(inspection: Inspection) -> dict[str, str]:
    return {finding.path: finding.kind for finding in inspection.findings}


@pytest.mark.parametrize("put", [put_file, put_folder, put_full_folder])
@pytest.mark.parametrize("place", PLACES)
def test_one_oddity_is_one_finding_and_stays_where_it_is(saved: Store, place: str, put: Callable[[Path], None]) -> None:
    folder = saved.root / place
    folder.mkdir(parents=True, exist_ok=True)
    for name in ODD:
        put(folder / name)
    odd = dict.fromkeys((f"{place}/{name}" for name in ODD), "foreign")
    inspection = inspect_store(saved)
    assert found(inspection) == odd
    assert len(inspection.findings) == len(odd)
    repair = repair_store(saved, inspection)
    assert (repair.set_aside, repair.removed, found(repair.remaining)) == ({}, [], odd)
    garbage = collect(saved, find_garbage(saved, Keep()))
    assert not any(garbage.by_kind.values())
    assert {name for name in ODD if os.path.lexists(folder / name)} == {*ODD}


@pytest.fixture
def nest(saved: Store) -> Iterator[Callable[[Path, str, int], None]]:
    """Makes nested folders, deeper than a path can be long; pytest itself could not remove them."""

    def nest(folder: Path, name: str, depth: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        inner = os.open(folder, os.O_RDONLY)
        for _ in range(depth):
            os.mkdir(name, dir_fd=inner)
            outer, inner = inner, os.open(name, os.O_RDONLY, dir_fd=inner)
            os.close(outer)
        os.close(inner)

    yield nest
    subprocess.run(["rm", "-rf", str(saved.root)], check=True)


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("data/make", "foreign"),
        ("artifacts/runs/line-1", "foreign"),
        ("artifacts/runs", "damaged"),
        ("artifacts/records/make", "damaged"),
        ("artifacts/states", "damaged"),
    ],
)
@pytest.mark.parametrize(("name", "depth"), [("a", 1200), ("n" * 200, 40)], ids=["deep", "long"])
def test_deeply_nested_folders_are_one_finding(
    saved: Store, nest: Callable[[Path, str, int], None], place: str, kind: str, name: str, depth: int
) -> None:
    nest(saved.root / place, name, depth)
    inspection = inspect_store(saved)
    assert list(found(inspection).values()) == [kind]
    assert repair_store(saved, inspection).remaining.problems == []
    assert collect(saved, find_garbage(saved, Keep())).by_kind["left over"] == {}


def test_long_paths_are_listed_as_far_as_they_can_be_opened(
    saved: Store, nest: Callable[[Path, str, int], None]
) -> None:
    nest(saved.root / "data/make", "n" * 200, 40)
    assert [path.name[:5] for path in files(saved.root / "data")] == ["nnnnn", "table"]


def test_all_files_are_listed_in_order_but_for_what_has_a_foreign_name(tmp_path: Path) -> None:
    for name in ("b/2", "b/1", "a", "ü/x", "c/d/e/f", "b/.tmp-0", "b/.gitkeep"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "z").symlink_to(tmp_path)
    foreign: list[Path] = []
    listed = [str(path.relative_to(tmp_path)) for path in files(tmp_path, on_foreign=foreign.append)]
    assert listed == ["a", "b/.gitkeep", "b/.tmp-0", "b/1", "b/2", "c/d/e/f", "z"]
    assert foreign == [tmp_path / "ü"]
    assert [str(path.relative_to(tmp_path)) for path in files(tmp_path, levels=2)][-2:] == ["c/d", "z"]


def test_nothing_is_listed_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "records").symlink_to(tmp_path)
    with pytest.raises(NotADirectoryError, match="Is a link"):
        list(files(tmp_path / "records"))


DIGEST = "0" * 64


@pytest.mark.parametrize(
    ("path", "published"),
    [
        (f"data/split/train-{DIGEST}.parquet", True),
        (f"artifacts/train/weights-{DIGEST}.pth", True),
        ("artifacts/runs/line-1/line.pth", True),
        ("artifacts/runs/line-1/plots/data.svg", True),
        ("artifacts", False),
        ("artifacts/train", False),
        ("artifacts/train/weights.pth", False),
        ("artifacts/runs", False),
        ("artifacts/runs/line-1", False),
        (f"artifacts/records/train/x-{DIGEST}.json", False),
        (f"artifacts/set-aside/x-{DIGEST}.json", False),
        (f"artifacts/states/x-{DIGEST}.json", False),
        (f"data/a/b/x-{DIGEST}.json", False),
        (f"flows/split/train-{DIGEST}.parquet", False),
    ],
)
def test_artifacts_are_published_in_their_places_alone(path: str, published: bool) -> None:
    assert is_published(path) is published


def test_artifacts_are_found_among_settings_wherever_the_store_lies() -> None:
    table, other = (f"data/frames/{name}-{'0' * 64}.parquet" for name in "ab")
    none = [other.replace("b-", "c-"), "/data/frames/a.parquet", "/", "", 3, None, [table]]
    settings = [f"/home/{table}", f"/{other}", *none]
    assert artifacts_in(settings) == {table, other}


def test_temporaries_are_listed_wherever_they_lie(store: Store) -> None:
    names = ["artifacts/records/make/.tmp-3", "artifacts/runs/.tmp-2", "artifacts/states/a/b/.tmp-4", "data/a/.tmp-1"]
    for name in (*names, "artifacts/set-aside/1/.tmp-4", "artifacts/runs/.tmp-2/.tmp-5", "data/ü/.tmp-6"):
        (store.root / name).mkdir(parents=True, exist_ok=True)
    assert sorted(temporaries(store)) == names


def test_other_files_among_the_claims_of_flows_are_left_alone(store: Store) -> None:
    with store_in_use(store) as use:
        use("artifacts/runs/line-1")
        folder = store.records / "locks" / "uses"
        for name in ("notes.use", "コピー\u30001.use"):
            (folder / name).write_text("mine")
        (folder / f"{'0' * 32}.use").mkdir()
        (folder / f"{'1' * 32}.use").symlink_to("notes.use")
        assert find_uses(store).paths == {"artifacts/runs/line-1"}
        assert len(list(folder.iterdir())) == 5
