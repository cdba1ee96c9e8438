"""TESTING.md names tests that there are."""

import ast
import re
from collections.abc import Container, Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
ROW = re.compile(r"^\| (?P<promise>.+) \| (?P<names>`.+`) \|$", re.MULTILINE)


@pytest.fixture(scope="module")
def tests() -> set[str]:
    """Every file of tests below this folder, and every class and test in it; read, since to collect them takes long."""
    return {name for path in TESTS.rglob("test_*.py") for name in named_in(path)}


def named_in(path: Path) -> Iterator[str]:
    """A file of tests, and the classes and tests in it, as pytest names them."""
    file = str(path.relative_to(TESTS))
    yield file
    for found in ast.parse(path.read_text("utf-8")).body:
        if isinstance(found, ast.ClassDef):
            yield f"{file}::{found.name}"
            yield from (f"{file}::{found.name}::{test.name}" for test in found.body if isinstance(test, FUNCTIONS))
        elif isinstance(found, FUNCTIONS):
            yield f"{file}::{found.name}"


def missing(page: str, tests: Container[str]) -> list[str]:
    """The files, classes and tests that the page names and the suite does not have."""
    named = [name for row in ROW.finditer(page) for name in re.findall(r"`([^`]+)`", row["names"])]
    return [name for name in named if name not in tests]


def test_every_test_that_the_page_names_is_there(tests: set[str]) -> None:
    page = (TESTS / "TESTING.md").read_text("utf-8")
    assert len(ROW.findall(page)) >= 30
    assert missing(page, tests) == []


def test_one_that_is_not_there_is_noticed(tests: set[str]) -> None:
    page = "| a promise | `test_testing_page.py`, `test_testing_page.py::test_none`, `test_none.py` |\n"
    assert missing(page, tests) == ["test_testing_page.py::test_none", "test_none.py"]
