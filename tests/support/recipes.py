"""The recipes of CONTRIBUTING.md, to be followed to the letter in a copy of the project.

In a recipe, every block is about the file that the line before it names. A `python` block is a new file; a `diff` block
changes one: lines that begin with a space are there already, `-` takes a line away, `+` adds one, and `@@` goes to
another place in the file.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[2]

BLOCK = re.compile(
    r"^[^\n]*`(?P<path>[\w/]+\.\w+)`[^\n`]*:\n+```(?P<kind>python|diff)\n(?P<code>.*?)^```$", re.M | re.S
)

#: What a copy of the project is made of.
PARTS = ("flows", "tasks", "pyproject.toml")

#: The most files that a recipe may touch.
MOST_FILES = 3


@dataclass(frozen=True)
class Block:
    """A block of a recipe: the file that it is about, `python` or `diff`, and its text."""

    path: str
    kind: str
    code: str


def blocks(section: str) -> list[Block]:
    """The blocks of a section of CONTRIBUTING.md, by its heading."""
    document = (PROJECT / "CONTRIBUTING.md").read_text("utf-8")
    (text,) = re.findall(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", document, re.M | re.S)
    found = [Block(**match.groupdict()) for match in BLOCK.finditer(text)]
    assert len(found) == text.count("\n```") // 2, f"a block of {section!r} does not name its file"
    assert 0 < len({block.path for block in found}) <= MOST_FILES
    return found


def apply(block: Block, project: Path) -> None:
    """Does what a block says in a copy of the project."""
    path = project / block.path
    if block.kind == "python":
        assert not path.exists(), f"{block.path} is there already"
        path.write_text(block.code, "utf-8")
        return
    text = path.read_text("utf-8")
    for hunk in re.split(r"^@@\n", block.code, flags=re.M):
        lines = [(line[:1] or " ", line[1:]) for line in hunk.splitlines(keepends=True)]
        lines = [(" ", "\n") if mark == "\n" else (mark, line) for mark, line in lines]
        assert {mark for mark, _ in lines} <= set(" +-"), hunk
        before, after = ("".join(line for mark, line in lines if mark in kept) for kept in (" -", " +"))
        assert text.count(before) == 1, f"{text.count(before)} times in {block.path}:\n{before}"
        text = text.replace(before, after)
    path.write_text(text, "utf-8")


class Copy:
    """A copy of the project, with a store of its own."""

    def __init__(self, folder: Path) -> None:
        """Copy the project into a folder."""
        self.project, self.home = folder / "project", folder / "home"
        for part in PARTS:
            if (PROJECT / part).is_dir():
                shutil.copytree(PROJECT / part, self.project / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(PROJECT / part, self.project)

    def follow(self, section: str) -> None:
        """Follow a recipe."""
        for block in blocks(section):
            apply(block, self.project)

    def workflow(self, *words: str, code: int = 0) -> str:
        """Run a command of the copy, which exits with a code; what it prints, or its error."""
        environment = os.environ | {"WORKFLOW_HOME": str(self.home), "PYTHONPATH": str(self.project)}
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", *words],
            cwd=self.project,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, f"{' '.join(words)}:\n{done.stdout}{done.stderr}"
        return done.stdout if not code else done.stderr

    def statuses(self, *words: str) -> dict[str, str]:
        """What is planned for each stage."""
        return {entry["stage"]: entry["status"] for entry in json.loads(self.workflow("plan", *words, "--json"))}

    def saved(self, file: str) -> Any:
        """A JSON file of the newest run."""
        return json.loads((self.home / "artifacts" / "runs" / "latest" / file).read_text("utf-8"))


def copy_of_project(folder: Path) -> Copy:
    """A copy of the project in a folder."""
    return Copy(folder)


def require_cached_and_proven(copy: Copy, refreshed: str, *words: str) -> None:
    """Train, verify, find everything reused, refresh one stage, and train that one again."""
    copy.workflow("train", *words, "--verify", "--ephemeral")
    assert set(copy.statuses(*words).values()) == {"reused"}
    printed = copy.workflow("train", *words, "--refresh", refreshed, "--ephemeral")
    assert re.search(rf"^  {refreshed} +Completed", printed, re.M), printed
    assert set(copy.statuses(*words).values()) == {"reused"}
