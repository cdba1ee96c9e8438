"""The commit that a manifest names is one that the code can be had back from, or says that it is not."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tasks.caching.environment import git_commit


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
    return subprocess.run(
        ["git", "-C", str(folder), *identity, *words], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "loop.py").write_text("RATE = 1\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "loop.py")
    git(tmp_path, "commit", "--quiet", "--message", "First")
    return tmp_path


def test_a_checkout_is_told_by_its_commit(checkout: Path) -> None:
    assert git_commit(checkout) == git(checkout, "rev-parse", "HEAD")


@pytest.mark.parametrize("file", ["loop.py", "new.py"])
def test_so_is_it_that_files_differ_from_the_commit(checkout: Path, file: str) -> None:
    (checkout / file).write_text("RATE = 2\n")
    assert git_commit(checkout) == git(checkout, "rev-parse", "HEAD") + "+changes"


def test_outside_of_a_checkout_there_is_none(tmp_path: Path) -> None:
    assert git_commit(tmp_path) is None


def test_without_git_there_is_none(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert git_commit(checkout) is None


def test_a_checkout_that_git_cannot_read_has_none(checkout: Path) -> None:
    (checkout / ".git" / "HEAD").write_text("garbage")
    assert git_commit(checkout) is None
