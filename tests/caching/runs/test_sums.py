"""The list of digests in a run folder: what it says is what `sha256sum --check` would say."""

import subprocess
from pathlib import Path

import pytest

from tasks.caching.runs.sums import SUMS, find_altered, list_sums
from tasks.caching.storage.store import Store

FILES = {"run.json": b"{}", "a-checkpoint.pth": b"weights", "plots/loss.png": b"png"}


@pytest.fixture
def run(store: Store) -> Path:
    store.publish_run("line-1", FILES | {SUMS: list_sums(FILES)})
    return store.runs / "line-1"


def altered(store: Store) -> dict[str, str]:
    """What a new process finds."""
    return find_altered(Store(store.root), "line-1", FILES.keys())


def test_a_run_as_it_was_saved_is_as_its_list_says(store: Store, run: Path) -> None:
    assert altered(store) == {}
    done = subprocess.run(["sha256sum", "--check", "--strict", SUMS], cwd=run, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_was_altered_is_named(store: Store, run: Path, name: str) -> None:
    (run / name).write_bytes(b"other")
    assert list(altered(store)) == [name]
    assert "no longer has its SHA-256" in altered(store)[name]


def test_a_missing_file_is_named(store: Store, run: Path) -> None:
    (run / "run.json").unlink()
    assert altered(store) == {"run.json": "artifact missing: artifacts/runs/line-1/run.json"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"no digest  run.json\n",
        list_sums({"run.json": b"{}"}),
        list_sums(FILES | {"../other": b""}),
        list_sums(FILES) + b"rest",
    ],
    ids=["empty", "no text", "no digest", "a file too few", "a file too many", "a line too many"],
)
def test_a_list_that_is_none_is_named(store: Store, run: Path, content: bytes) -> None:
    (run / SUMS).write_bytes(content)
    assert list(altered(store)) == [SUMS]


def test_a_missing_list_is_named(store: Store, run: Path) -> None:
    (run / SUMS).unlink()
    assert altered(store) == {SUMS: "artifact missing: artifacts/runs/line-1/SHA256SUMS"}
