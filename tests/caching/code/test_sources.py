"""The code that runs is the code in the key, whatever happens to the files while a process runs."""

import importlib.util
import json
import os
import py_compile
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

import tasks.split
from tasks.caching.code.sources import INSTALLED, PROJECT, PinnedLoader, install, is_project_code, source_of

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
from tasks.caching.code.fingerprint import fingerprint
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

    def run(code: str, *words: str, options: Sequence[str] = ()) -> Any:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        command = [sys.executable, *options, "-c", dedent(code), *words]
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


@pytest.mark.parametrize("mode", ["timestamp", "checked-hash", "unchecked-hash"])
@pytest.mark.parametrize("options", [(), ("--check-hash-based-pycs", "never")], ids=["", "never checked"])
def test_bytecode_that_others_kept_is_not_believed(
    copy: Path, python: Callable[..., Any], mode: str, options: Sequence[str]
) -> None:
    """Python itself keeps it with the time and the size of the source alone, and believes some without a look."""
    rates = copy / "tasks" / "rates.py"
    before = rates.stat()
    compiling = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", mode, "tasks"]
    subprocess.run(compiling, cwd=copy, check=True)
    for rate in (0.3, 0.4):
        rates.write_text(f"RATE = {rate}\n")
        os.utime(rates, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert python(PROBE, "fit", "never", options=options)["result"] == rate


#: Prints what a stage that imports while it runs returns, after its module of rates has become something else.
MOVED = """
import json
from pathlib import Path
rates = Path("tasks/rates.py")
from tasks.caching.code.fingerprint import fingerprint
import tasks.lazy
fingerprint("tasks.lazy", "fit")
{edit}
print(json.dumps(tasks.lazy.fit()))
"""


@pytest.mark.parametrize(
    "edit",
    [
        'Path("tasks/rates").mkdir(); rates.replace("tasks/rates/__init__.py").write_text("RATE = 0.2")',
        'Path("tasks/rates").mkdir(); Path("tasks/rates/__init__.py").write_text("RATE = 0.2")',
        'rates.replace("tasks/speeds.py")',
        "rates.unlink()",
    ],
)
def test_a_module_that_becomes_something_else_is_what_the_key_says(python: Callable[..., Any], edit: str) -> None:
    assert python(MOVED.replace("{edit}", edit)) == 0.1


def test_a_module_that_comes_after_the_key_is_not_imported(copy: Path, python: Callable[..., Any]) -> None:
    (copy / "tasks" / "lazy.py").write_text(
        "def fit():\n    try:\n        from tasks.fast import RATE\n    except ImportError:\n        RATE = 0.1\n"
        "    return RATE\n"
    )
    assert python(MOVED.replace("{edit}", 'Path("tasks/fast.py").write_text("RATE = 0.2")')) == 0.1
    assert python(MOVED.replace("{edit}", "")) == 0.2


#: Prints what a stage that imports a compiled module while it runs returns, after that was replaced.
COMPILED = """
import json
from pathlib import Path
from tasks.caching.code.fingerprint import fingerprint
import tasks.lazy
before = fingerprint("tasks.lazy", "fit")
{edit}
try:
    result = tasks.lazy.fit()
except ImportError as error:
    result = str(error)
print(json.dumps([result, before == fingerprint("tasks.lazy", "fit")]))
"""


def compile_rates(copy: Path, rate: float, target: str) -> None:
    source = copy / "source.py"
    source.write_text(f"RATE = {rate}\n")
    py_compile.compile(str(source), str(copy / target), doraise=True)


def test_bytecode_without_source_is_run_as_it_was_for_the_key(copy: Path, python: Callable[..., Any]) -> None:
    (copy / "tasks" / "rates.py").unlink()
    compile_rates(copy, 0.1, "tasks/rates.pyc")
    compile_rates(copy, 0.2, "other.pyc")
    replacing = 'Path("other.pyc").replace("tasks/rates.pyc")'
    assert python(COMPILED.replace("{edit}", replacing)) == [0.1, True]
    assert python(COMPILED.replace("{edit}", 'Path("tasks/rates.pyc").unlink()'))[0] == 0.2


def test_a_compiled_module_that_was_replaced_since_its_key_is_not_imported(
    copy: Path, python: Callable[..., Any]
) -> None:
    """The system loads it from its file: what it had between then and now is unknown."""
    original = Path(importlib.util.find_spec("_bisect").origin)  # type: ignore[union-attr, arg-type]
    compiled = copy / "tasks" / original.name
    compiled.write_bytes(original.read_bytes())
    (copy / "tasks" / "lazy.py").write_text(
        "def fit():\n    from tasks._bisect import bisect_right\n    return bisect_right([1], 2)\n"
    )
    assert python(COMPILED.replace("{edit}", "")) == [1, True]
    replacing = f'path = Path("tasks/{original.name}"); path.write_bytes(path.read_bytes() + b"0")'
    reported = f"{compiled} was replaced after a stage's key was made from it: run again"
    assert python(COMPILED.replace("{edit}", replacing)) == [reported, True]


def test_a_compiled_module_that_was_imported_before_the_finder_is_refused(
    copy: Path, python: Callable[..., Any]
) -> None:
    original = Path(importlib.util.find_spec("_bisect").origin)  # type: ignore[union-attr, arg-type]
    (copy / "models").mkdir()
    (copy / "models" / original.name).write_bytes(original.read_bytes())
    (copy / "tasks" / "lazy.py").write_text(
        "def fit():\n    from models._bisect import bisect_right\n    return bisect_right([1], 2)\n"
    )
    code = """
        import json, sys
        import models._bisect
        import tasks.lazy
        from tasks.caching.code.fingerprint import fingerprint
        try:
            print(json.dumps(list(fingerprint("tasks.lazy", "fit"))))
        except ValueError as error:
            print(json.dumps(str(error)))
        """
    assert python(code).startswith("models._bisect was imported before flows and tasks,")


def test_the_module_that_python_finds_is_the_one_in_the_key(copy: Path, python: Callable[..., Any]) -> None:
    """One of its name in the project may come after it."""
    for folder, number in ((copy, 1), (copy / "elsewhere", 2)):
        folder.mkdir(exist_ok=True)
        (folder / "shapes.py").write_text(f"SCALE = {number}\n")
    (copy / "tasks" / "fit.py").write_text("def fit():\n    from shapes import SCALE\n\n    return SCALE\n")
    code = """
        import json, sys
        sys.path.insert(0, "elsewhere")
        import tasks.fit
        from tasks.caching.code.fingerprint import fingerprint
        print(json.dumps([fingerprint("tasks.fit", "fit"), tasks.fit.fit()]))
        """
    before, scale = python(code)
    assert scale == 2
    (copy / "elsewhere" / "shapes.py").write_text("SCALE = 3\n")
    after, scale = python(code)
    assert scale == 3
    assert before != after


def test_a_hook_that_brings_loaders_of_its_own_changes_nothing(copy: Path, python: Callable[..., Any]) -> None:
    """As beartype's does, which Prefect's server installs."""
    code = """
        import json, sys
        from importlib.machinery import FileFinder, SourceFileLoader
        import tasks
        class Other(SourceFileLoader):
            pass
        sys.path_hooks.insert(0, FileFinder.path_hook((Other, [".py"])))
        sys.path_importer_cache.clear()
        import tasks.rates
        print(json.dumps(type(tasks.rates.__loader__).__name__))
        """
    assert python(code) == "PinnedLoader"


def test_prefects_server_leaves_the_code_of_this_process_pinned() -> None:
    code = """
        import json, flows, tasks
        import prefect.server.api.server
        from importlib.util import find_spec
        print(json.dumps(type(find_spec("tasks.learning.evaluation.drift").loader).__name__))
        """
    done = subprocess.run([sys.executable, "-c", dedent(code)], cwd=PROJECT, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ('"PinnedLoader"\n', 0), done.stderr


def test_a_package_that_is_a_link_is_read_once(copy: Path, tmp_path: Path, python: Callable[..., Any]) -> None:
    shared = tmp_path / "shared" / "models"
    shared.mkdir(parents=True)
    (shared / "scale.py").write_text("SCALE = 1\n")
    (copy / "models").symlink_to(shared)
    (copy / "tasks" / "fit.py").write_text("def fit():\n    from models.scale import SCALE\n\n    return SCALE\n")
    code = """
        import json
        from pathlib import Path
        import tasks.fit
        from tasks.caching.code.fingerprint import fingerprint
        before = fingerprint("tasks.fit", "fit")
        Path("models/scale.py").write_text("SCALE = 2\\n")
        result = tasks.fit.fit()
        Path("models/scale.py").write_text("SCALE = 1\\n")
        print(json.dumps([result, before]))
        """
    result, before = python(code)
    assert (result, "models/scale.py: SCALE" in before) == (1, True)


def test_a_module_that_was_imported_before_the_finder_is_refused(copy: Path, python: Callable[..., Any]) -> None:
    (copy / "models").mkdir()
    (copy / "models" / "scale.py").write_text("SCALE = 1\n")
    (copy / "tasks" / "fit.py").write_text("def fit():\n    from models.scale import SCALE\n\n    return SCALE\n")
    code = """
        import json, sys
        if sys.argv[1] == "before":
            import models.scale
        import tasks.fit, models.scale
        from tasks.caching.code.fingerprint import fingerprint
        try:
            print(json.dumps(list(fingerprint("tasks.fit", "fit"))))
        except ValueError as error:
            print(json.dumps(str(error)))
        """
    assert {"models/scale.py: SCALE", "tasks/fit.py: fit"} <= {*python(code, "after")}
    assert python(code, "before").startswith("models.scale was imported before flows and tasks,")


def test_what_python_itself_loads_may_define_nothing(copy: Path, python: Callable[..., Any]) -> None:
    """Of the package that installs the finder, an edit that keeps size and time would run the bytecode from before."""
    code = """
        import json, tasks.fit
        from tasks.caching.code.fingerprint import fingerprint
        try:
            print(json.dumps(list(fingerprint("tasks.fit", "fit"))))
        except ValueError as error:
            print(json.dumps(str(error)))
        """
    package = copy / "tasks" / "__init__.py"
    package.write_text(package.read_text().replace('"""What', '"""All that') + "\n# A comment.\n")
    assert "tasks/fit.py: fit" in python(code)
    package.write_text(package.read_text() + "SCALE = 1.0\n")
    assert "defines more than the start of the project's finder" in python(code)


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
