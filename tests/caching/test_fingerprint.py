import itertools
import os
import re
import time
from pathlib import Path
from textwrap import dedent

import pytest

from tasks.caching import fingerprint as caching
from tasks.caching.fingerprint import read_module

#: A small project: two stages, of which only `train` reaches `constants`, and only through `loop`.
FILES = {
    "flows/__init__.py": "",
    "flows/train.py": """
        from tasks import fit, draw
        def pipeline(run): run(fit.fit); run(draw.draw)
        """,
    "tasks/__init__.py": "",
    "tasks/fit.py": '''
        """Stage fit."""
        from tasks.learning.loop import descend

        def fit(view):
            """Fits."""
            return descend(view)  # the work
        ''',
    "tasks/draw.py": """
        import json
        def draw(view): return json.dumps(view)
        """,
    "tasks/learning/__init__.py": "",
    "tasks/learning/loop.py": """
        from tasks.learning.constants import RATE
        def descend(view): return view * RATE
        """,
    "tasks/learning/constants.py": """
        RATE = 0.1
        UNUSED: int = 3
        """,
}


#: Times for files: no two edits of a test are at the same one, however coarse the file system's clock is.
TICKS = itertools.count(1)


def fingerprint(module: str, project: Path) -> dict[str, str]:
    """Of the files as they are now."""
    return caching.fingerprint(module, project, Path.read_bytes)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in FILES:
        write(tmp_path, name, FILES[name])
    return tmp_path


def write(project: Path, name: str, code: str) -> None:
    path = project / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(code))
    os.utime(path, ns=(next(TICKS), next(TICKS)))


def files(module: str, project: Path) -> set[str]:
    return {place.partition(": ")[0] for place in fingerprint(module, project)}


def changed(module: str, project: Path, edits: dict[str, str]) -> set[str]:
    """The places whose hash edits change, add or remove; `edits` are new texts of files by name."""
    before = fingerprint(module, project)
    for name, code in edits.items():
        write(project, name, code)
    return {place for place, _ in before.items() ^ fingerprint(module, project).items()}


def test_a_fingerprint_covers_a_module_and_all_that_it_imports_at_any_depth(project: Path) -> None:
    assert set(fingerprint("tasks.fit", project)) == {
        "tasks/fit.py: imports",
        "tasks/fit.py: fit",
        "tasks/learning/loop.py: imports",
        "tasks/learning/loop.py: descend",
        "tasks/learning/constants.py: RATE",
        "tasks/learning/constants.py: UNUSED",
    }


def test_a_constant_two_imports_away_changes_exactly_the_stages_that_import_it(project: Path) -> None:
    drawn = fingerprint("tasks.draw", project)
    edit = {"tasks/learning/constants.py": "RATE = 0.2\nUNUSED: int = 3\n"}
    assert changed("tasks.fit", project, edit) == {"tasks/learning/constants.py: RATE"}
    assert fingerprint("tasks.draw", project) == drawn


@pytest.mark.parametrize(
    "code",
    [
        '"""Other."""\nfrom tasks.learning.loop import descend\ndef fit(view):\n "Fits well."\n return descend(view)',
        "# A comment.\nfrom tasks.learning.loop import descend\n\n\ndef fit(view):\n    return descend(view)\n",
        "from tasks.learning.loop import (\n    descend,\n)\ndef fit(\n    view,\n):\n    return (descend(view))\n",
        "from tasks.learning.loop import descend\r\ndef fit(view): return descend(view)\r\n",
        "\ufefffrom tasks.learning.loop import descend\ndef fit(view): 'text'; return descend(view); 'text'",
    ],
    ids=["docstrings", "comments", "formatting", "line ends", "byte order mark"],
)
def test_comments_docstrings_and_formatting_change_nothing(project: Path, code: str) -> None:
    assert changed("tasks.fit", project, {"tasks/fit.py": code}) == set()


@pytest.mark.parametrize(
    ("before", "after", "place"),
    [
        ("X = 1", "X = 2", "X"),
        ("X = 1", "X = 1.0", "X"),
        ("X = 1", "X = True", "X"),
        ("X: int = 1", "X: int = 2", "X"),
        ("X = 'a'", "X = b'a'", "X"),
        ("X = ''", "X = ' '", "X"),
        ("def f(): pass", "def f(): return 1", "f"),
        ("def f(a=1): pass", "def f(a=2): pass", "f"),
        ("def f(a): pass", "@cache\ndef f(a): pass", "f"),
        ("def f(): pass", "async def f(): pass", "f"),
        ("class C:\n x = 1", "class C:\n x = 2", "C"),
        ("class C:\n def f(self): return 1", "class C:\n def f(self): return 2", "C"),
        ("X = 1", "X = 1\nX = 2", "X"),
        ("X = 1\nX = 2", "X = 3\nX = 2", "X"),
        ("import json", "import json, math", "imports"),
        ("from math import pi", "from math import e as pi", "imports"),
        ("X.y = 1", "X.y = 2", "module body"),
        ("if X: Y = 1", "if X: Y = 2", "module body"),
        ("configure(1)", "configure(2)", "module body"),
        ("A, B = 1, 2", "A, B = 1, 3", "module body"),
        ("X = f('text')", "X = f('Text')", "X"),
    ],
)
def test_a_change_is_told_by_the_definition_that_changed(project: Path, before: str, after: str, place: str) -> None:
    write(project, "tasks/draw.py", before)
    assert changed("tasks.draw", project, {"tasks/draw.py": after}) == {f"tasks/draw.py: {place}"}


@pytest.mark.parametrize(
    "statement",
    [
        "import tasks.learning.loop",
        "import json, tasks.learning.loop as l",
        "from tasks.learning.loop import descend",
        "from tasks.learning import loop",
        "from tasks.learning import loop as l, nothing",
        "from tasks.learning.loop import *",
        "from .learning.loop import descend",
        "from .learning import loop",
        "def f():\n    from tasks.learning.loop import descend",
        "def f():\n    def g():\n        import tasks.learning.loop",
        "class C:\n    from tasks.learning import loop",
        "try:\n    from tasks.learning import loop\nexcept ImportError:\n    pass",
        "if f():\n    pass\nelse:\n    from tasks.learning import loop",
        "if TYPE_CHECKING:\n    pass\nelse:\n    from tasks.learning import loop",
        "if TYPE_CHECKING:\n    pass\nelif f():\n    from tasks.learning import loop",
        "match f():\n    case 1:\n        from tasks.learning import loop",
        "async def f():\n    from tasks.learning import loop",
    ],
)
def test_an_import_is_followed_however_it_is_written(project: Path, statement: str) -> None:
    write(project, "tasks/draw.py", statement)
    assert "tasks/learning/constants.py" in files("tasks.draw", project)


@pytest.mark.parametrize(
    ("importer", "statement"),
    [
        ("tasks/learning/deep.py", "from .loop import descend"),
        ("tasks/learning/deep.py", "from . import loop"),
        ("tasks/learning/deep.py", "from .. import learning\nfrom ..learning import loop"),
        ("tasks/learning/deep/__init__.py", "from ..loop import descend"),
        ("tasks/learning/deep/__init__.py", "from .. import loop"),
        ("tasks/learning/deep/__init__.py", "from ...learning import loop"),
    ],
)
def test_a_relative_import_starts_from_the_package_that_it_is_in(project: Path, importer: str, statement: str) -> None:
    write(project, importer, statement)
    assert "tasks/learning/constants.py" in files("tasks.learning.deep", project)


@pytest.mark.parametrize(
    "code",
    [
        "if TYPE_CHECKING:\n    from tasks.learning import loop",
        "if typing.TYPE_CHECKING:\n    from tasks.learning import loop",
        "def f():\n    if TYPE_CHECKING:\n        from tasks.learning import loop",
        "if TYPE_CHECKING:\n    from tasks.learning import loop\nelse:\n    'text'",
        "if f():\n    pass\nelif TYPE_CHECKING:\n    from tasks.learning import loop",
        "if TYPE_CHECKING:\n    X = 1\nelif TYPE_CHECKING:\n    from tasks.learning import loop",
        "from numpy import tasks",
        "import tasks_of_others.learning.loop",
        "'from tasks.learning import loop'",
    ],
)
def test_what_never_runs_or_is_not_the_projects_is_not_followed(project: Path, code: str) -> None:
    write(project, "tasks/draw.py", code)
    assert files("tasks.draw", project) <= {"tasks/draw.py"}


def test_an_edit_inside_type_checking_changes_nothing(project: Path) -> None:
    code = "if TYPE_CHECKING:\n    from a import b\nelse:\n    b = 1"
    write(project, "tasks/draw.py", code)
    assert changed("tasks.draw", project, {"tasks/draw.py": code.replace("a import b", "c import d")}) == set()


@pytest.mark.parametrize(
    ("code", "place"),
    [
        ("if TYPE_CHECKING:\n    from a import b\nelse:\n    b = 1", "b"),
        ("if typing.TYPE_CHECKING:\n    pass\nelif X:\n    Y = 1", "module body"),
        ("def f():\n    if TYPE_CHECKING:\n        pass\n    else:\n        return 1", "f"),
    ],
)
def test_what_runs_in_place_of_type_checking_counts(project: Path, code: str, place: str) -> None:
    write(project, "tasks/draw.py", code)
    edit = {"tasks/draw.py": code.replace("1", "2")}
    assert changed("tasks.draw", project, edit) == {f"tasks/draw.py: {place}"}


@pytest.mark.parametrize("package", ["tasks", "tasks/learning"])
def test_the_code_of_every_package_on_the_way_counts(project: Path, package: str) -> None:
    assert changed("tasks.fit", project, {f"{package}/__init__.py": "SEED = 1"}) == {f"{package}/__init__.py: SEED"}


def test_what_a_package_imports_counts(project: Path) -> None:
    write(project, "tasks/learning/__init__.py", "from . import hidden")
    write(project, "tasks/learning/hidden.py", "X = 1")
    assert "tasks/learning/hidden.py: X" in fingerprint("tasks.fit", project)


def test_a_package_counts_as_well_as_the_name_taken_from_it(project: Path) -> None:
    write(project, "tasks/learning/__init__.py", "RATE = 1")
    write(project, "tasks/draw.py", "from tasks.learning import RATE")
    assert "tasks/learning/__init__.py: RATE" in fingerprint("tasks.draw", project)


def test_modules_that_import_each_other_are_read_once(project: Path) -> None:
    write(project, "tasks/learning/constants.py", "import tasks.learning.loop\nimport tasks.fit")
    assert files("tasks.fit", project) == {"tasks/fit.py", "tasks/learning/loop.py", "tasks/learning/constants.py"}


def test_a_change_of_where_a_definition_lies_is_a_change(project: Path) -> None:
    moved = {
        "tasks/learning/rates.py": FILES["tasks/learning/constants.py"],
        "tasks/learning/loop.py": FILES["tasks/learning/loop.py"].replace("constants", "rates"),
    }
    assert {
        "tasks/learning/constants.py: RATE",
        "tasks/learning/rates.py: RATE",
        "tasks/learning/loop.py: imports",
    } <= changed("tasks.fit", project, moved)


def test_a_module_that_cannot_be_parsed_is_named(project: Path) -> None:
    write(project, "tasks/learning/constants.py", "RATE = = 1")
    with pytest.raises(SyntaxError) as error:
        fingerprint("tasks.fit", project)
    assert error.value.filename == str(project / "tasks/learning/constants.py")
    assert error.value.lineno == 1


def test_the_entries_are_in_the_order_of_the_files(project: Path) -> None:
    names = [f"part{number}" for number in range(9)]
    for name in names:
        write(project, f"tasks/{name}.py", "X = 1")
    write(project, "tasks/draw.py", "import " + ", ".join(f"tasks.{name}" for name in reversed(names)))
    places = list(fingerprint("tasks.draw", project))
    assert places == ["tasks/draw.py: imports", *(f"tasks/{name}.py: X" for name in names)]


def test_a_hash_is_that_of_the_syntax_tree_and_not_of_the_file_name(project: Path) -> None:
    write(project, "tasks/one.py", "X = 1")
    write(project, "tasks/two.py", "X = 1")
    assert fingerprint("tasks.one", project)["tasks/one.py: X"] == fingerprint("tasks.two", project)["tasks/two.py: X"]


def test_a_hash_is_long_enough_that_no_two_edits_share_it(project: Path) -> None:
    assert all(re.fullmatch("[0-9a-f]{16}", digest) for digest in fingerprint("tasks.fit", project).values())


def test_the_fingerprint_of_the_real_project_is_quick() -> None:
    module = "tasks.caching.prefect_run"
    read_module.cache_clear()
    started = time.perf_counter()
    first = caching.fingerprint(module)
    middle = time.perf_counter()
    assert caching.fingerprint(module) == first
    print(f"{len(first)} places: {middle - started:.4f} s, again {time.perf_counter() - middle:.4f} s")
    assert "tasks/caching/store.py: Store" in first


def test_a_module_that_is_not_the_projects_is_refused(project: Path) -> None:
    with pytest.raises(ValueError, match=r"numpy\.linalg is no module of this project"):
        fingerprint("numpy.linalg", project)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("A = 1\nB = A\nA = 2\n", "A = 1\nA = 2\nB = A\n"),
        ("X = []\nX.append(1)\nY = X[:]\n", "X = []\nY = X[:]\nX.append(1)\n"),
    ],
)
def test_the_order_matters_of_what_is_defined_in_several_statements(project: Path, before: str, after: str) -> None:
    write(project, "tasks/draw.py", before)
    first = fingerprint("tasks.draw", project)
    write(project, "tasks/draw.py", after)
    assert fingerprint("tasks.draw", project) != first


def test_a_change_elsewhere_in_a_module_is_not_told_of_its_imports(project: Path) -> None:
    write(project, "tasks/draw.py", "import json\nimport math\nA = 1\n")
    first = fingerprint("tasks.draw", project)
    write(project, "tasks/draw.py", "import json\nimport math\nA = 2\n")
    changed = {place for place, digest in fingerprint("tasks.draw", project).items() if first[place] != digest}
    assert changed == {"tasks/draw.py: A"}


def test_all_that_lies_in_the_project_is_its_code(project: Path) -> None:
    write(project, "models/__init__.py", "")
    write(project, "models/net.py", "WIDTH = 3")
    write(project, "losses.py", "SCALE = 1")
    write(project, "tasks/draw.py", "from models.net import WIDTH\nimport losses\nimport numpy\n")
    assert files("tasks.draw", project) == {"losses.py", "models/net.py", "tasks/draw.py"}


def test_among_installed_packages_only_its_own_are(tmp_path: Path) -> None:
    installed = tmp_path / "site-packages"
    write(installed, "tasks/draw.py", "import numpy\n")
    write(installed, "numpy/__init__.py", "X = 1\n")
    assert files("tasks.draw", installed) == {"tasks/draw.py"}


SWAPS = {
    "draws from one generator": ("A = draw()", "B = draw()"),
    "registered functions": ("@register\ndef one(): pass", "@register\ndef two(): pass"),
    "a draw and a registered function": ("A = draw()", "@register\ndef two(): pass"),
    "an import and a function of its name": ("from math import floor", "def floor(x): return x"),
    "a tuple and a call": ("A, B = draw(), 1", "C = draw()"),
}


@pytest.mark.parametrize("swapped", SWAPS)
def test_the_order_counts_of_what_has_effects(project: Path, swapped: str) -> None:
    first, second = SWAPS[swapped]
    write(project, "tasks/draw.py", f"from random import random as draw\n{first}\n{second}\n")
    found = changed("tasks.draw", project, {"tasks/draw.py": f"from random import random as draw\n{second}\n{first}\n"})
    assert "tasks/draw.py: order of statements" in found


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("def one(): pass", "def two(): pass"),
        ("class One: pass", "def two(): pass"),
        ("A = 1", "B: int = -2"),
        ("A = ('a', 1.5)", "B = {'b': [None, True]}"),
        ("A = 1", "C = draw()"),
        ("import math", "import json"),
    ],
)
def test_the_order_does_not_count_of_what_has_none(project: Path, first: str, second: str) -> None:
    write(project, "tasks/draw.py", f"from random import random as draw\n{first}\n{second}\n")
    edits = {"tasks/draw.py": f"from random import random as draw\n{second}\n{first}\n"}
    assert changed("tasks.draw", project, edits) - {"tasks/draw.py: imports"} == set()


def test_an_edit_of_what_has_an_order_is_told_of_itself_alone(project: Path) -> None:
    write(project, "tasks/draw.py", "from random import random as draw\nA = draw()\nB = draw()\n")
    edits = {"tasks/draw.py": "from random import random as draw\nA = draw()\nB = 1 + draw()\n"}
    assert changed("tasks.draw", project, edits) == {"tasks/draw.py: B"}
