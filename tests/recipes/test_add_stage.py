"""CONTRIBUTING's recipe for a stage, followed word by word in a copy of the project."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]

#: A block of code of the recipe; the last path that stands in the text before it says to which file it belongs.
BLOCK = re.compile(r"^```(?P<kind>python|diff)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
PATH = re.compile(r"`([\w./]+\.py)`:$", re.MULTILINE)

#: Few epochs, since it is not the model that is tried.
SETTINGS = ("--training.epochs", "3")

Command = Callable[..., str]


@dataclass(frozen=True)
class Step:
    """A block of a recipe: a new file, or an edit of one as `diff` shows it."""

    path: str
    kind: str
    code: str

    def follow(self, tree: Path) -> None:
        """Does in a copy of the project what the step says."""
        target = tree / self.path
        if self.kind == "python":
            assert not target.exists()
            target.write_text(self.code, "utf-8")
            return
        lines = self.code.splitlines(keepends=True)
        old, new = ("".join(line[1:] for line in lines if line[0] in signs) for signs in (" -", " +"))
        before = target.read_text("utf-8")
        assert before.count(old) == 1, f"{self.path} has not once:\n{old}"
        target.write_text(before.replace(old, new), "utf-8")


def steps(page: str, heading: str) -> list[Step]:
    """The steps of the recipe under a heading of a page."""
    (section,) = re.findall(rf"^## {heading}\n(.*?)^## ", page, re.MULTILINE | re.DOTALL)
    found = []
    for block in BLOCK.finditer(section):
        path = PATH.findall(section[: block.start()].rstrip() + "\n")[-1]
        found.append(Step(path, block["kind"], block["code"]))
    return found


@pytest.fixture(scope="module")
def recipe() -> list[Step]:
    return steps((PROJECT / "CONTRIBUTING.md").read_text("utf-8"), "Adding a stage")


@pytest.fixture(scope="module")
def command(recipe: list[Step], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """Runs a command in a copy of the project in which the recipe was followed, and in a store of its own."""
    tree, home = (tmp_path_factory.mktemp(name) for name in ("tree", "home"))
    for name in ("flows", "tasks"):
        shutil.copytree(PROJECT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", tree)
    for step in recipe:
        step.follow(tree)
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "WORKFLOW_"))}
    own |= {"WORKFLOW_HOME": str(home), "PYTHONPATH": str(tree), "WORKFLOW_SERVER_PORT": "4850"}

    def run(*arguments: str) -> str:
        words = [sys.executable, "-m", "flows.cli", *arguments]
        done = subprocess.run(words, cwd=tree, env=own, capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    yield run
    run("server", "stop")


def states(printed: str) -> dict[str, str]:
    """The state of each stage, as training prints it."""
    return dict(re.findall(r"^  (\w+) +(Completed|Cached)\b", printed, re.MULTILINE))


def test_the_recipe_touches_three_files(recipe: list[Step]) -> None:
    assert len({step.path for step in recipe}) == 3


def test_a_stage_that_is_added_by_the_recipe_is_a_stage_like_any_other(command: Command) -> None:
    folder = Path(json.loads(command("train", "line", *SETTINGS, "--json"))["folder"])
    ranking = json.loads((folder / "ranking.json").read_bytes())
    assert sorted(ranking["rows"]) == list(range(50))
    plan = json.loads(command("plan", "line", *SETTINGS, "--json"))
    stages = [entry["stage"] for entry in plan]
    assert stages[-2:] == ["rank", "save"]
    assert {entry["status"] for entry in plan} == {"reused"}
    refreshed = command("train", "line", *SETTINGS, "--refresh", "rank")
    assert states(refreshed) == dict.fromkeys(stages, "Cached") | {"rank": "Completed"}
    cut = command("train", "line", *SETTINGS, "--until", "rank")
    assert states(cut) == dict.fromkeys(stages[:-1], "Cached")
    verified = json.loads(command("verify", "latest", "--json"))
    assert (verified["verified"], Path(verified["folder"])) == (True, folder)
