"""The commit of the checkout that a run is made by, whatever repository git is to look at."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.caching.runs.environment import git_commit

Git = Callable[..., str]


@pytest.fixture
def git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Git:
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)

    def run(folder: Path, *words: str) -> str:
        author = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        return subprocess.run(
            ["git", *author, "-C", str(folder), *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    return run


@pytest.fixture
def checkouts(git: Git, tmp_path: Path) -> list[Path]:
    """Two checkouts with a commit each."""
    folders = [tmp_path / name for name in ("own", "other")]
    for folder in folders:
        folder.mkdir()
        git(folder, "init", "--quiet")
        (folder / "file").write_text(folder.name)
        git(folder, "add", "file")
        git(folder, "commit", "--quiet", "-m", folder.name)
    return folders


@pytest.mark.parametrize("name", ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"])
def test_inside_a_hook_the_commit_is_that_of_the_own_checkout(
    git: Git, checkouts: list[Path], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    own, other = checkouts
    head = git(own, "rev-parse", "HEAD")
    places = {"GIT_DIR": ".git", "GIT_WORK_TREE": "", "GIT_INDEX_FILE": ".git/index", "GIT_OBJECT_DIRECTORY": ".git/x"}
    monkeypatch.setenv(name, str(other / places[name]))
    assert git_commit(own) == head


@pytest.mark.parametrize("name", ["file", "new"])
def test_a_checkout_that_differs_from_its_commit_says_so(git: Git, checkouts: list[Path], name: str) -> None:
    own, _ = checkouts
    (own / name).write_text("changed")
    assert git_commit(own) == git(own, "rev-parse", "HEAD") + "+changes"


def test_without_a_checkout_or_without_git_there_is_no_commit(
    checkouts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert git_commit(tmp_path) is None
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert git_commit(checkouts[0]) is None


def test_a_checkout_that_git_cannot_read_has_no_commit(checkouts: list[Path]) -> None:
    (checkouts[0] / ".git" / "HEAD").write_text("garbage")
    assert git_commit(checkouts[0]) is None


def test_no_optional_lock_is_taken(git: Git, checkouts: list[Path]) -> None:
    """A look must not rewrite the index, whose lock a command of the user's may need at that moment."""
    own, _ = checkouts
    index = own / ".git" / "index"
    later = (own / "file").stat().st_mtime + 100
    os.utime(own / "file", (later, later))  # the index is out of date, and `git status` would refresh it
    before = index.read_bytes()
    assert git_commit(own) == git(own, "rev-parse", "HEAD")
    assert index.read_bytes() == before
