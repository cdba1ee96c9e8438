"""A training on a table."""

from pathlib import Path

import pytest

from tests.support.house_prices import EXPERIMENT, houses
from tests.support.serving_project import Finish


@pytest.fixture(scope="session")
def houses_home(workflow: Finish, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which a table was trained on. Not to be changed."""
    folder = tmp_path_factory.mktemp("houses")
    houses().to_csv(folder / "houses.csv", index=False)
    (folder / "houses.toml").write_text(EXPERIMENT)
    done = workflow("train", str(folder / "houses.toml"), home=folder / "home")
    assert done.returncode == 0, done.stderr
    return folder / "home"
