"""A project that was copied or moved with its .venv acts on nothing but itself."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flows.checkout import PROJECT, require_same_checkout


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What of a copied checkout is looked at: its code, its Makefile and the command in its .venv."""
    folder = tmp_path / "copy (1), of mine"
    shutil.copytree(PROJECT / "flows", folder / "flows")
    shutil.copy(PROJECT / "Makefile", folder)
    (folder / ".venv/bin").mkdir(parents=True)
    shutil.copy(Path(sys.executable).with_name("workflow"), folder / ".venv/bin")
    return folder


def test_the_command_of_a_copied_environment_is_refused(copy: Path) -> None:
    done = subprocess.run([copy / ".venv/bin/workflow", "runs"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"runs the code in {PROJECT}" in done.stderr
    assert f"Run `make install` in {copy}" in done.stderr


def test_the_command_of_the_own_environment_is_not(tmp_path: Path) -> None:
    require_same_checkout(PROJECT / ".venv/bin/workflow")
    require_same_checkout(tmp_path / "elsewhere/bin/workflow")


def test_a_link_to_the_own_checkout_is_the_own_one(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(PROJECT)
    require_same_checkout(tmp_path / "link/.venv/bin/workflow")


def test_make_notices_an_environment_that_was_made_elsewhere(copy: Path) -> None:
    mark = copy / ".venv/.installed"
    for text, stays in ((f"{copy.resolve()}\n", True), (f"{PROJECT}\n", False), ("", False)):
        mark.write_text(text)
        subprocess.run(["make", "help"], cwd=copy, capture_output=True, check=True)
        assert mark.exists() == stays, text
