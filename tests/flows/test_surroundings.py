"""Where and how a process runs makes no difference to what it makes."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.caching.storage.store import Store, project_store
from tests.flows.conftest import enter, made
from tests.support.serving_project import Finish

Command = Callable[..., tuple[int, str, str]]

#: Runs the command line with another umask.
WITH_UMASK = "import os, sys; os.umask(0o077); from flows.cli import main; main(sys.argv[1:])"


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({"PYTHONHASHSEED": "0"}, marks=pytest.mark.long),
        {"PYTHONHASHSEED": "4294967295", "TZ": "Pacific/Kiritimati"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"},
        pytest.param({"LC_ALL": "C.UTF-8", "LANGUAGE": "tr", "COLUMNS": "20"}, marks=pytest.mark.long),
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


@pytest.fixture
def unnamable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project in a folder whose name is not in UTF-8."""
    home = tmp_path / os.fsdecode(b"caf\xe9")
    enter(home, monkeypatch)
    yield home
    project_store.cache_clear()


@pytest.mark.parametrize(
    "words", [("train", "line"), ("train", "line", "--ephemeral"), ("server", "start"), ("serve",)]
)
def test_a_folder_that_prefect_cannot_name_is_refused_before_anything_is_written(
    unnamable: Path, command: Command, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.services.prefect_server.server_process.spawn", pytest.fail)
    code, out, error = command(*words)
    assert (code, out) == (2, "")
    assert error.startswith("error: the project's folder ('")
    assert r"caf\udce9') is not valid UTF-8, which Prefect requires: rename it, or name another" in error
    assert not unnamable.exists()


@pytest.mark.parametrize("name", ["PREFECT_API_AUTH_STRING", "PREFECT_API_KEY", "PREFECT_LOGGING_LEVEL"])
def test_so_is_a_setting_that_prefect_cannot_take(
    store: Store, command: Command, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, os.fsdecode(b"caf\xe9"))
    code, out, error = command("train", "line")
    assert (code, out) == (2, "")
    assert error == (
        f"error: the environment variable {name} ('caf\\udce9') is not valid UTF-8, which Prefect requires: "
        "correct it\n"
    )
    assert not store.root.exists()


def test_a_setting_that_is_wrong_is_reported_as_one_of_prefect(workflow: Finish, tmp_path: Path) -> None:
    done = workflow("train", "line", home=tmp_path / "home", PREFECT_LOGGING_LEVEL="LOUD")
    assert (done.returncode, done.stdout) == (2, "")
    # After what Prefect prints of it itself.
    named = "the environment variable PREFECT_LOGGING_LEVEL: input should be 'DEBUG', "
    assert f"error: Prefect rejects its settings, correct them:\n  {named}" in done.stderr
    assert "default factory" not in done.stderr.partition("error: ")[2]


def test_a_file_of_any_name_is_read(store: Store, command: Command, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.toml")
    path.write_text("name = 'any'")
    code, out, _ = command("plan", str(path))
    assert (code, out.splitlines()[0].strip()) == (0, "Plan for any")
    path.write_text("")
    code, _, error = command("plan", str(path))
    assert code == 2
    assert "caf\ufffd.toml is not a valid experiment:\n  name: " in error
