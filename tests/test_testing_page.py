"""TESTING.md names tests that there are."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROW = re.compile(r"^\| (?P<promise>.+) \| (?P<names>`.+`) \|$", re.MULTILINE)


@pytest.fixture(scope="module")
def cases() -> list[str]:
    """Every case of the suite, by its file, its name and its parameters, below this folder."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--collect-only",
        "-q",
        "-m",
        "long or not long",
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True, check=True)
    return [line.removeprefix("tests/") for line in done.stdout.splitlines() if line.startswith("tests/")]


def missing(page: str, cases: list[str]) -> list[str]:
    """The files, classes and tests that the page names and the suite does not have."""
    named = [name for row in ROW.finditer(page) for name in re.findall(r"`([^`]+)`", row["names"])]
    return [name for name in named if not any(f"{case}::[".startswith((f"{name}::", f"{name}[")) for case in cases)]


def test_every_test_that_the_page_names_is_there(cases: list[str]) -> None:
    page = (TESTS / "TESTING.md").read_text("utf-8")
    assert len(ROW.findall(page)) >= 30
    assert missing(page, cases) == []


def test_one_that_is_not_there_is_noticed(cases: list[str]) -> None:
    page = "| a promise | `test_testing_page.py`, `test_testing_page.py::test_none`, `test_none.py` |\n"
    assert missing(page, cases) == ["test_testing_page.py::test_none", "test_none.py"]
