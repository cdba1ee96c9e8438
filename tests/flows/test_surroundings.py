"""Where and how a process runs makes no difference to what it makes."""

from pathlib import Path

import pytest

from tests.flows.conftest import made
from tests.flows.served import Finish

#: Runs the command line with another umask.
WITH_UMASK = "import os, sys; os.umask(0o077); from flows.cli import main; main(sys.argv[1:])"


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONHASHSEED": "0"},
        {"PYTHONHASHSEED": "4294967295", "TZ": "Pacific/Kiritimati"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C.UTF-8", "LANGUAGE": "tr", "COLUMNS": "20"},
    ],
    ids=["hash seed 0", "another hash seed, time zone", "locale C", "locale C.UTF-8"],
)
def test_the_environment_umask_folder_and_checkout(
    environment: dict[str, str], workflow: Finish, own_tree: Path, first_home: Path, tmp_path: Path
) -> None:
    cwd = tmp_path / "einen Ordner höher"
    cwd.mkdir()
    done = workflow(
        "train", "line", "--verify", code=WITH_UMASK, tree=own_tree, cwd=cwd, home=tmp_path / "a home", **environment
    )
    assert done.returncode == 0, done.stderr
    assert made(tmp_path / "a home") == made(first_home)
    assert list(cwd.iterdir()) == []
