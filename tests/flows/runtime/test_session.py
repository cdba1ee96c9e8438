"""Flows that are called from Python work in the project, whichever folder they are called in."""

import re
import shutil
from pathlib import Path

import pytest

from flows.errors import InputError
from flows.runtime.session import project_root
from tasks.caching.storage.store import Store
from tests.support.serving_project import Finish

PROJECT = Path(__file__).parents[3]


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    """A folder that has nothing to do with the project."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def snippet() -> str:
    """The example of the README."""
    section = (PROJECT / "README.md").read_text("utf-8").split("## Use it from Python")[1]
    found = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_example_of_the_readme_leaves_other_folders_alone(
    snippet: str, workflow: Finish, first_home: Path, cwd: Path, tmp_path: Path
) -> None:
    shutil.copytree(first_home, tmp_path / "home", symlinks=True)
    done = workflow(code=snippet, home=tmp_path / "home", cwd=cwd)
    assert (done.returncode, done.stderr) == (0, "")
    report = Path(done.stdout.strip())
    assert report.is_file()
    assert report.is_relative_to(tmp_path / "home/artifacts/runs")
    assert list(cwd.iterdir()) == []


def test_a_folder_that_was_not_chosen_is_named_before_anything_is_written(
    snippet: str, workflow: Finish, own_tree: Path, cwd: Path
) -> None:
    (own_tree / "pyproject.toml").unlink()
    code = snippet.replace('refresh=["plot"]', "until='generate'").split("    verify")[0]
    for number in range(2):
        done = workflow(code=code, home=Path(), tree=own_tree, cwd=cwd, WORKFLOW_HOME="")
        assert done.returncode == 0, done.stderr
        reported = f"working in {cwd}, where data, artifacts and .prefect will be; WORKFLOW_HOME names another folder\n"
        assert done.stderr == ("" if number else reported)
    assert {path.name for path in cwd.iterdir()} == {"data", "artifacts", ".prefect"}


def test_another_folder_than_the_projects_is_refused(store: Store, cwd: Path) -> None:
    assert project_root(None) == project_root(store.root) == store.root
    with pytest.raises(InputError, match=f"^flows work in {store.root}, not in {cwd}: leave it out, or name it in"):
        project_root(cwd)
    assert list(cwd.iterdir()) == []
    assert not store.root.exists()
