"""The code that runs is the code in the key, whatever happens to the files while a process runs."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

import tasks.split
from tasks.caching.sources import INSTALLED, PROJECT, PinnedLoader, install, is_project_code, source_of

#: A project of two stages with the cache of this one; `{rate}` is what a test edits.
STAGES = {
    "tasks/fit.py": "from tasks.rates import RATE\n\n\ndef fit() -> float:\n    return RATE\n",
    "tasks/lazy.py": "def fit() -> float:\n    from tasks.rates import RATE\n\n    return RATE\n",
    "tasks/rates.py": "RATE = 0.1\n",
}

#: Prints what a stage returns and the key of its code, after having edited a file at some moment.
PROBE = """
import json, sys
from pathlib import Path
name, when = sys.argv[1:]
rates = Path("tasks/rates.py")
def edit(moment):
    if moment == when:
        rates.write_text("RATE = 0.2\\n")
from tasks.caching.fingerprint import fingerprint
edit("before the import")
import importlib
module = importlib.import_module(f"tasks.{name}")
edit("after the import")
code = fingerprint(f"tasks.{name}", "fit")
edit("after the key")
result = module.fit()
print(json.dumps({"result": result, "code": code}))
"""

MOMENTS = ("before the import", "after the import", "after the key")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A project with the cache of this one, and stages of its own."""
    for path in (PROJECT / "tasks").rglob("*.py"):
        target = tmp_path / path.relative_to(PROJECT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    for name, code in STAGES.items():
        (tmp_path / name).write_text(code)
    return tmp_path


@pytest.fixture
def python(copy: Path) -> Callable[..., Any]:
    """Runs a text in the copy, as a new process that keeps bytecode; what it printed, from JSON."""

    def run(code: str, *words: str) -> Any:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        command = [sys.executable, "-c", dedent(code), *words]
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.mark.parametrize("when", MOMENTS)
@pytest.mark.parametrize("name", ["fit", "lazy"])
def test_what_runs_is_what_the_key_says(copy: Path, python: Callable[..., Any], name: str, when: str) -> None:
    truth = {0.1: python(PROBE, name, "never")["code"]}
    (copy / "tasks" / "rates.py").write_text("RATE = 0.2\n")
    truth[0.2] = python(PROBE, name, "never")["code"]
    (copy / "tasks" / "rates.py").write_text("RATE = 0.1\n")
    assert truth[0.1] != truth[0.2]
    found = python(PROBE, name, when)
    assert found["code"] == truth[found["result"]]
    assert found["result"] == (0.1 if when == "after the key" or (name, when) == ("fit", "after the import") else 0.2)


def test_an_edit_that_keeps_size_and_time_is_an_edit(copy: Path, python: Callable[..., Any]) -> None:
    rates = copy / "tasks" / "rates.py"
    before = rates.stat()
    assert python(PROBE, "fit", "never")["result"] == 0.1
    assert list((copy / "tasks" / "__pycache__").glob("rates.*.pyc"))
    rates.write_text("RATE = 0.3\n")
    os.utime(rates, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (rates.stat().st_size, rates.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert python(PROBE, "fit", "never")["result"] == 0.3


def test_bytecode_that_others_kept_is_not_believed(copy: Path, python: Callable[..., Any]) -> None:
    """Python itself keeps it with the time and the size of the source alone."""
    rates = copy / "tasks" / "rates.py"
    before = rates.stat()
    subprocess.run([sys.executable, "-m", "compileall", "-q", "tasks"], cwd=copy, check=True)
    rates.write_text("RATE = 0.3\n")
    os.utime(rates, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert python(PROBE, "fit", "never")["result"] == 0.3


def test_bytecode_is_used_while_its_source_stays(copy: Path, python: Callable[..., Any]) -> None:
    python(PROBE, "fit", "never")
    (kept,) = (copy / "tasks" / "__pycache__").glob("rates.*.pyc")
    before = kept.read_bytes()
    assert before[4:8] == (3).to_bytes(4, "little"), "kept with the hash of its source, which is checked"
    kept.write_bytes(before.replace(b"RATE", b"RANK"))  # what is imported then comes from there
    code = "import json, tasks.rates\nprint(json.dumps([name for name in vars(tasks.rates) if name.startswith('RA')]))"
    assert python(code) == ["RANK"]


def test_a_file_reached_through_a_link_is_the_same(copy: Path, tmp_path: Path, python: Callable[..., Any]) -> None:
    code = """
        import json, os, sys
        os.symlink(os.getcwd(), "../linked")
        sys.path[0] = os.path.abspath("../linked")
        import tasks.rates
        print(json.dumps(type(tasks.rates.__loader__).__name__))
        """
    try:
        assert python(code) == "PinnedLoader"
    finally:
        (copy.parent / "linked").unlink(missing_ok=True)


def test_the_stages_of_this_process_are_pinned() -> None:
    assert isinstance(tasks.split.__loader__, PinnedLoader)
    path = Path(tasks.split.__file__).resolve()
    assert source_of(path) == tasks.split.__loader__.get_source("tasks.split").encode()  # type: ignore[union-attr]


def test_what_is_installed_is_no_code_of_the_project() -> None:
    assert is_project_code(PROJECT / "models" / "net.py")
    assert not is_project_code(Path(pytest.__file__))
    assert all(not is_project_code(PROJECT / ".venv" / "lib" / name / "x.py") for name in INSTALLED)


def test_it_is_installed_once() -> None:
    before = list(sys.meta_path)
    install()
    assert sys.meta_path == before
