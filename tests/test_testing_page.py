"""TESTING.md names tests that there are, and counts them right."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROW = re.compile(r"^\| (?P<promise>.+) \| (?P<names>`.+`) \| (?P<cases>\d+) \|$", re.MULTILINE)


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


def count(name: str, cases: list[str]) -> int:
    """How many cases a file, a class or a test has."""
    return sum(case == name or case.startswith((f"{name}::", f"{name}[")) for case in cases)


def test_every_promise_has_the_cases_that_the_page_says(cases: list[str]) -> None:
    rows = list(ROW.finditer((TESTS / "TESTING.md").read_text("utf-8")))
    assert len(rows) >= 30
    wrong = {}
    for row in rows:
        counts = {name: count(name, cases) for name in re.findall(r"`([^`]+)`", row["names"])}
        if not all(counts.values()) or sum(counts.values()) != int(row["cases"]):
            wrong[row["promise"]] = f"{row['cases']} cases on the page, and {sum(counts.values())}: {counts}"
    assert not wrong


def test_the_whole_is_counted(cases: list[str]) -> None:
    told = re.search(r"(?P<cases>[\d,]+) cases in all", (TESTS / "TESTING.md").read_text("utf-8"))
    assert told is not None
    assert int(told["cases"].replace(",", "")) == len(cases)
