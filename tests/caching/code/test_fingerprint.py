"""Which code a fingerprint is made of: what a function reaches, and no more."""

import itertools
import os
import re
import time
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tasks.caching.code import fingerprint as caching
from tasks.caching.code.dynamic import UnseenCodeError
from tasks.caching.code.syntax import parse

#: A small project: two stages, of which only `fit` reaches RATE, and only through `descend`.
FILES = {
    "flows/__init__.py": "",
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
        def ascend(view): return view + RATE
        """,
    "tasks/learning/constants.py": """
        RATE = 0.1
        UNUSED: int = 3
        """,
}

RATE = "tasks/learning/constants.py: RATE"

#: Times for files: no two edits of a test are at the same one, however coarse the file system's clock is.
TICKS = itertools.count(1)


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


def fingerprint(project: Path, function: str = "tasks.fit.fit", **options: Any) -> dict[str, str]:
    """Of a function, and of the files as they are now."""
    module, _, name = function.rpartition(".")
    return caching.fingerprint(module, name, project=project, read=Path.read_bytes, **options)


def drawn(project: Path, code: str, **options: Any) -> dict[str, str]:
    """The fingerprint of `draw` in a module with this code, by what is defined: outside of it, by file as well."""
    write(project, "tasks/draw.py", code)
    places = fingerprint(project, "tasks.draw.draw", **options)
    return {place.removeprefix("tasks/draw.py: "): digest for place, digest in places.items()}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    """The places whose hash is another one, new or gone."""
    return {place for place, _ in before.items() ^ after.items()}


# ---- from name to name


def test_a_fingerprint_has_what_the_function_reaches_at_any_depth_and_no_more(project: Path) -> None:
    assert list(fingerprint(project)) == [
        "tasks/fit.py: imports",
        "tasks/fit.py: fit",
        RATE,
        "tasks/learning/loop.py: imports",
        "tasks/learning/loop.py: descend",
    ]


@pytest.mark.parametrize(
    ("name", "code", "places"),
    [
        ("tasks/learning/constants.py", "RATE = 0.2\nUNUSED: int = 3\n", {RATE}),
        ("tasks/learning/constants.py", "RATE = 0.1\nUNUSED: int = 4\n", set()),
        ("tasks/learning/constants.py", "UNUSED = 3\nOTHER = 1\nRATE = 0.1\n", set()),
        ("tasks/draw.py", "def draw(view): return view\n", set()),
    ],
)
def test_an_edit_changes_the_stages_that_reach_it(project: Path, name: str, code: str, places: set[str]) -> None:
    before = fingerprint(project)
    write(project, name, code)
    assert changed(before, fingerprint(project)) == places


REACHING = {
    "a function": "def draw(): return RATE",
    "a default": "def draw(rate=RATE): return rate",
    "a decorator": "def twice(f): return f\n@twice\ndef draw(): pass\ndef twice(f, rate=RATE): return f",
    "a nested function": "def draw():\n  def inner(): return RATE\n  return inner",
    "a lambda": "def draw(): return lambda: RATE",
    "a method": "class C:\n  def f(self): return RATE\ndef draw(): return C().f()",
    "a base class": "class B:\n  rate = RATE\nclass C(B): pass\ndef draw(): return C",
    "the field of a class": "class C:\n  rate: float = RATE\ndef draw(): return C",
    "a registry": "def one(): return RATE\nALL = {'one': one}\ndef draw(name): return ALL[name]()",
    "a constant": "TWICE = 2 * RATE\ndef draw(): return TWICE",
    "an unpacked constant": "A, B = RATE, 1\ndef draw(): return B",
    "an expression": "X = [RATE for _ in 'ab']\ndef draw(): return X",
    "a global": "X = RATE\ndef draw():\n  global X\n  X = 2",
    "a text that is an annotation": "from dataclasses import dataclass\nclass T:\n  r = RATE\n"
    "@dataclass\nclass C:\n  t: 'T'\ndef draw(): return C",
    "a branch": "if RATE:\n  def draw(): return 1\n",
    "an exception": "class E(Exception):\n  rate = RATE\ndef draw():\n  try: pass\n  except E: pass",
    "a star": "def draw(): return [*(RATE,)]",
    "a comprehension": "def draw(): return {x: RATE for x in 'ab'}",
    "a format": "def draw(): return f'{RATE:{RATE}}'",
    "a match": "def draw(x):\n  match x:\n    case 1: return RATE",
    "an async function": "async def draw(): return RATE",
}


@pytest.mark.parametrize("way", REACHING)
def test_a_name_is_followed_wherever_it_is_read(project: Path, way: str) -> None:
    assert RATE in drawn(project, f"from tasks.learning.constants import RATE\n{REACHING[way]}\n")


IMPORTING = [
    "import tasks.learning.constants\ndef draw(): return tasks.learning.constants.RATE",
    "import json, tasks.learning.constants as c\ndef draw(): return c.RATE",
    "from tasks.learning import constants\ndef draw(): return constants.RATE",
    "from tasks.learning import constants as c, nothing\ndef draw(): return c.RATE",
    "from tasks.learning.constants import RATE as r\ndef draw(): return r",
    "from tasks.learning.constants import *\ndef draw(): return RATE",
    "from .learning.constants import RATE\ndef draw(): return RATE",
    "from .learning import constants\ndef draw(): return constants.RATE",
    "def draw():\n  from tasks.learning.constants import RATE\n  return RATE",
    "def draw():\n  def g():\n    import tasks.learning.constants as c\n    return c.RATE",
    "class C:\n  from tasks.learning.constants import RATE\n  rate = RATE\ndef draw(): return C",
    "try:\n  from tasks.learning.constants import RATE\nexcept ImportError:\n  RATE = 1\ndef draw(): return RATE",
    "if 1:\n  pass\nelse:\n  from tasks.learning.constants import RATE\ndef draw(): return RATE",
    "if TYPE_CHECKING:\n  pass\nelse:\n  from tasks.learning.constants import RATE\ndef draw(): return RATE",
    "if TYPE_CHECKING:\n  pass\nelif 1:\n  from tasks.learning.constants import RATE\ndef draw(): return RATE",
    "TYPE_CHECKING = 1\nif TYPE_CHECKING:\n  from tasks.learning.constants import RATE\ndef draw(): return RATE",
    "match 1:\n  case 1:\n    from tasks.learning.constants import RATE\ndef draw(): return RATE",
    "from tasks.learning.loop import RATE\ndef draw(): return RATE",
    "from tasks.learning import loop\ndef draw(): return loop.RATE",
    "async def draw():\n  from tasks.learning.constants import RATE\n  return RATE",
    # What cannot be followed pulls in all of its module.
    "from tasks.learning import constants\ndef draw(): return vars(constants)",
    "from tasks.learning import constants\ndef draw(name): return getattr(constants, name)",
    "import tasks.learning.constants as c\nALL = [c]\ndef draw(): return ALL",
    "from tasks.learning import loop\ndef draw(name): return getattr(loop, name)",
]


@pytest.mark.parametrize("code", IMPORTING)
def test_an_import_is_followed_however_it_is_written(project: Path, code: str) -> None:
    assert RATE in drawn(project, code)


@pytest.mark.parametrize(
    ("importer", "statement"),
    [
        ("tasks/learning/deep.py", "from .constants import RATE"),
        ("tasks/learning/deep.py", "from . import constants\nRATE = constants.RATE"),
        ("tasks/learning/deep.py", "from ..learning.constants import RATE"),
        ("tasks/learning/deep/__init__.py", "from ..constants import RATE"),
        ("tasks/learning/deep/__init__.py", "from .. import constants\nRATE = constants.RATE"),
        ("tasks/learning/deep/__init__.py", "from ...learning.constants import RATE"),
    ],
)
def test_a_relative_import_starts_from_the_package_that_it_is_in(project: Path, importer: str, statement: str) -> None:
    write(project, importer, f"{statement}\ndef deep(): return RATE")
    assert RATE in fingerprint(project, "tasks.learning.deep.deep")


@pytest.mark.parametrize(
    "code",
    [
        "if TYPE_CHECKING:\n  from tasks.learning.constants import RATE\ndef draw(): return RATE",
        "import typing\nif typing.TYPE_CHECKING:\n  from tasks.learning.constants import RATE\ndef draw(): return RATE",
        "def draw():\n  if TYPE_CHECKING:\n    from tasks.learning.constants import RATE\n    RATE",
        "from tasks.learning.constants import RATE\ndef other(): return RATE\ndef draw(): return 1",
        "from tasks.learning.constants import RATE\ndef draw(x: RATE) -> RATE: y: RATE = 1; return y",
        "from numpy import tasks\ndef draw(): return tasks.learning.constants.RATE",
        "import tasks_of_others.learning.constants as c\ndef draw(): return c.RATE",
        "'from tasks.learning.constants import RATE'\ndef draw(): 'RATE'",
    ],
)
def test_what_never_runs_is_not_followed(project: Path, code: str) -> None:
    assert not [place for place in drawn(project, code) if "constants" in place]


# ---- what importing does


EFFECTS = {
    "a call": "print(1)",
    "a call that gives a value": "X = list(Y)\nY = 'ab'",
    "a decorated function": "@register\ndef f(): pass",
    "a decorated class": "@register\nclass C: pass",
    "a decorated method": "class C:\n  @register\n  def f(self): pass",
    "a default that is called": "def f(x=register()): pass",
    "a metaclass": "class C(metaclass=M): pass",
    "a call in a class": "class C:\n  register()",
    "an attribute": "import json\njson.x = 1",
    "an item": "D = {}\nD[1] = 2",
    "a change": "X = []\nX += [1]",
    "a branch": "if 1: X = 1",
    "a loop": "for X in 'ab': pass",
    "a deletion": "X = 1\ndel X",
    "an assertion": "assert 1",
    "a walrus": "(X := 1)",
}


@pytest.mark.parametrize("kind", EFFECTS)
def test_what_has_effects_counts_wherever_its_module_is_imported(project: Path, kind: str) -> None:
    first = f"def register(x=None): return x\n{EFFECTS[kind]}\n"
    write(project, "tasks/learning/hooks.py", first)
    write(project, "tasks/learning/loop.py", f"import tasks.learning.hooks\n{dedent(FILES['tasks/learning/loop.py'])}")
    before = fingerprint(project)
    assert [place for place in before if place.startswith("tasks/learning/hooks.py: ")]
    write(project, "tasks/learning/hooks.py", "def register(x=None): return x\n")
    assert changed(before, fingerprint(project))


@pytest.mark.parametrize(
    "statement",
    [
        "def f(x=1, *, y=(2, None)): return x",
        "class C(Exception): x = 1",
        "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass C: x: int = 1",
        "import functools\n@functools.lru_cache(maxsize=3)\ndef f(): return 1",
        "from contextlib import contextmanager\n@contextmanager\ndef f(): yield 1",
        "from pydantic import BaseModel, Field\nclass C(BaseModel): x: int = Field(1, ge=0)",
        "import re\nX = re.compile('a')",
        "from typing import TypeVar\nT = TypeVar('T')",
        "X = frozenset({'a'}) | {'b'}",
        "X = 'a b'.split()",
        "from pathlib import Path\nX = Path(__file__).parent / 'x'",
        "class C:\n  @property\n  def x(self): return 1\n  @x.setter\n  def x(self, value): pass",
        "X = lambda: f()",
        "import math\nX = 2 * math.sqrt(3)",
        "X = sorted(['b', 'a'])",
        "import enum\nclass E(enum.Enum): A = enum.auto()",
    ],
)
def test_what_only_defines_counts_where_it_is_reached_alone(project: Path, statement: str) -> None:
    before = fingerprint(project)
    write(project, "tasks/learning/constants.py", f"{FILES['tasks/learning/constants.py']}\n".replace("        ", ""))
    assert fingerprint(project) == before
    code = dedent(FILES["tasks/learning/constants.py"]) + statement + "\n"
    write(project, "tasks/learning/constants.py", code)
    after = {place for place in changed(before, fingerprint(project)) if not place.endswith(": imports")}
    assert after == set()


@pytest.mark.parametrize("hook", ["def __init_subclass__(cls): pass", "def all(cls): return cls.__subclasses__()"])
def test_classes_count_that_their_base_class_finds(project: Path, hook: str) -> None:
    code = f"class B:\n  {hook}\nclass Hidden(B): x = 1\ndef draw(): return B"
    assert "Hidden" in drawn(project, code)


@pytest.mark.parametrize("package", ["tasks", "tasks/learning"])
def test_what_every_package_on_the_way_does_counts(project: Path, package: str) -> None:
    write(project, f"{package}/__init__.py", "print(1)")
    assert f"{package}/__init__.py: module body" in fingerprint(project)


def test_a_module_of_others_counts_where_it_is_imported_unless_it_is_pythons(project: Path) -> None:
    with_none = drawn(project, "def draw(): pass")
    assert drawn(project, "import math\nimport json as j\ndef draw(): pass") == with_none
    assert changed(with_none, drawn(project, "import mpl_toolkits.mplot3d\ndef draw(): pass")) == {"imports"}


# ---- order


SWAPS = {
    "draws from one generator": ("A = draw()", "B = draw()"),
    "registered functions": ("@register\ndef one(): pass", "@register\ndef two(): pass"),
    "a draw and a registered function": ("A = draw()", "@register\ndef two(): pass"),
    "an import and a function of its name": ("from math import floor", "def floor(x): return x"),
    "a tuple and a call": ("A, B = draw(), 1", "C = draw()"),
    "what is read and what changes it": ("Y = X[:]", "X.append(1)"),
    "two values of a name": ("X = 1", "X = 2"),
}


@pytest.mark.parametrize("swapped", SWAPS)
def test_the_order_counts_of_what_has_effects(project: Path, swapped: str) -> None:
    first, second = SWAPS[swapped]
    code = "from random import random as draw\nX = []\n{}\n{}\ndef work(): return A, B, C, Y, X, floor, one, two\n"
    write(project, "tasks/order.py", code.format(first, second))
    before = fingerprint(project, "tasks.order.work")
    write(project, "tasks/order.py", code.format(second, first))
    after = fingerprint(project, "tasks.order.work")
    assert "tasks/order.py: order of statements" in changed(before, after) or changed(before, after) == {
        "tasks/order.py: X"
    }
    write(project, "tasks/order.py", code.format(first, second))
    assert fingerprint(project, "tasks.order.work") == before


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("def one(): pass", "def two(): pass"),
        ("class one: pass", "def two(): pass"),
        ("one = 1", "two: int = -2"),
        ("one = ('a', 1.5)", "two = {'b': [None, True]}"),
        ("one = 1", "two = draw()"),
        ("import math as one", "import json as two"),
    ],
)
def test_the_order_does_not_count_of_what_has_none(project: Path, first: str, second: str) -> None:
    code = "from random import random as draw\n{}\n{}\ndef work(): return one, two\n"
    write(project, "tasks/order.py", code.format(first, second))
    before = fingerprint(project, "tasks.order.work")
    write(project, "tasks/order.py", code.format(second, first))
    assert fingerprint(project, "tasks.order.work") == before


# ---- registries of modules


#: Two kinds, registered by name.
KINDS = {
    "tasks/kinds/__init__.py": "",
    "tasks/kinds/one.py": "from tasks.learning.constants import RATE\nLABEL = 'one'\ndef work(): return RATE\n",
    "tasks/kinds/two.py": "LABEL = 'two'\ndef work(): return 2\n",
    "tasks/kinds/registry.py": "from tasks.kinds import one, two\nKINDS: dict[str, int] = {'one': one, 'two': two}\n",
}

USES_KINDS = "from tasks.kinds.registry import KINDS\n"


@pytest.fixture
def kinds(project: Path) -> Path:
    for name, code in KINDS.items():
        write(project, name, code)
    return project


def reached_kinds(project: Path, code: str) -> set[str]:
    """What `draw` reaches of the two kinds."""
    places = drawn(project, USES_KINDS + code)
    return {place.removeprefix("tasks/kinds/") for place in places if place.startswith("tasks/kinds/")} - {
        "registry.py: imports",
        "registry.py: KINDS",
        "one.py: imports",
    }


LABELS, ALL_OF_KINDS = (
    {"one.py: LABEL", "two.py: LABEL"},
    {"one.py: LABEL", "one.py: work"}
    | {
        "two.py: LABEL",
        "two.py: work",
    },
)


def test_of_the_modules_in_a_registry_what_is_read_counts(kinds: Path) -> None:
    assert reached_kinds(kinds, "def draw(name): return KINDS[name].LABEL") == LABELS
    assert reached_kinds(kinds, "def draw(name): return KINDS[name].work()") == ALL_OF_KINDS - LABELS
    assert RATE in drawn(kinds, USES_KINDS + "def draw(name): return KINDS[name].work()")
    assert RATE not in drawn(kinds, USES_KINDS + "def draw(name): return KINDS[name].LABEL")


@pytest.mark.parametrize(
    "use",
    [
        "return KINDS[name]",
        "kind = KINDS[name]\n  return kind.LABEL",
        "return KINDS.get(name).LABEL",
        "return [kind.LABEL for kind in KINDS.values()]",
        "return list(KINDS)",
        "return getattr(KINDS[name], 'LABEL')",
        "return KINDS[name].LABEL, KINDS",
    ],
)
def test_all_of_the_modules_counts_where_a_registry_is_used_otherwise(kinds: Path, use: str) -> None:
    assert reached_kinds(kinds, f"def draw(name):\n  {use}") == ALL_OF_KINDS


@pytest.mark.parametrize(
    "registry",
    [
        "from tasks.kinds import one, two\nKINDS = {'one': one, 'two': two}\nKINDS['two'] = one\n",
        "from tasks.kinds import one, two\nKINDS = {'one': one}\nKINDS = {'one': one, 'two': two}\n",
        "from tasks.kinds import one, two\nKINDS = dict(one=one, two=two)\n",
        "from tasks.kinds import one, two\nKINDS = {'one': one, **{'two': two}}\n",
        "from tasks.kinds import one, two\nKINDS = {two: one, 'two': two}\n",
        "from tasks.kinds import one, two\nKINDS = {'one': one, 'two': two}\nKINDS.update(three=two)\n",
    ],
)
def test_what_is_no_plain_registry_counts_as_a_whole(kinds: Path, registry: str) -> None:
    write(kinds, "tasks/kinds/registry.py", registry)
    found = reached_kinds(kinds, "def draw(name): return KINDS[name].LABEL")
    assert ALL_OF_KINDS - {"one.py: work"} <= found | {"one.py: LABEL"}
    assert "two.py: work" in found


def test_what_stands_in_a_registry_beside_a_name_that_is_imported_twice_counts(kinds: Path) -> None:
    found = []
    for number in (1, 2):
        twice = "try:\n  from tasks.kinds import one\nexcept ImportError:\n  from tasks.kinds import two as one\n"
        own = f"class Own: LABEL = {number}\nKINDS = {{'one': one, 'own': Own}}\n"
        write(kinds, "tasks/kinds/registry.py", twice + own)
        found.append(drawn(kinds, USES_KINDS + "def draw(name): return KINDS[name].LABEL"))
    assert found[0] != found[1]


@pytest.mark.parametrize(
    ("old", "new"),
    [("'two': two", "'two': one"), ("'two': two", "'three': two"), ("import one, two", "import one, one as two")],
)
def test_an_edit_of_a_registry_is_noticed(kinds: Path, old: str, new: str) -> None:
    code = USES_KINDS + "def draw(name): return KINDS[name].LABEL"
    before = drawn(kinds, code)
    write(kinds, "tasks/kinds/registry.py", KINDS["tasks/kinds/registry.py"].replace(old, new))
    assert drawn(kinds, code) != before


# ---- what is left out, and what is refused


@pytest.mark.parametrize("ending", [EXTENSION_SUFFIXES[0], ".so", ".pyc"])
def test_a_module_without_source_counts_as_a_whole(project: Path, ending: str) -> None:
    (project / "models").mkdir()
    binary = project / "models" / f"fast{ending}"
    binary.write_bytes(b"one")
    code = "def draw():\n  from models.fast import f\n  return f"
    before = drawn(project, code)
    binary.write_bytes(b"two")
    assert changed(before, drawn(project, code)) == {"models/fast" + ending + ": imports"}
    write(project, "models/fast.py", "def f(): pass")
    assert ("models/fast.py: f" in drawn(project, code)) is (ending == ".pyc"), "which of them Python takes"


def test_a_folder_without_code_hides_no_package_of_its_name(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "data").mkdir()
    elsewhere = tmp_path / "elsewhere"
    write(elsewhere, "data/__init__.py", "")
    write(elsewhere, "data/scale.py", "SCALE = 1")
    monkeypatch.syspath_prepend(str(elsewhere))
    code = "def draw():\n  from data.scale import SCALE\n  return SCALE"
    before = drawn(project, code)
    write(elsewhere, "data/scale.py", "SCALE = 2")
    assert changed(before, drawn(project, code)) == {"data/scale.py: SCALE"}


def test_the_machinery_is_left_out(project: Path) -> None:
    write(project, "tasks/caching/__init__.py", "")
    write(project, "tasks/caching/store.py", "print(1)\ndef write(): return 1")
    code = "from tasks.caching.store import write\ndef draw(): return write()"
    assert {place for place in drawn(project, code) if "caching" in place} == set()
    everything = drawn(project, code, machinery="")
    assert {"tasks/caching/store.py: write", "tasks/caching/store.py: module body"} <= everything.keys()


#: Two ways of writing the same statements, or of what looks like nothing, of which each makes something else.
REGISTER = "ALL = []\ndef register(f):\n  ALL.append(f)\n  return f\ndef draw(): return ALL\n"
SUBCLASSES = "ALL = []\nclass B:\n  def __init_subclass__(cls): ALL.append(cls)\ndef draw(): return ALL\n"
META = "ALL = []\nclass M(type):\n  def __init__(cls, *a): ALL.append(cls)\nclass B(metaclass=M): pass\n"
SETTER = "class R:\n  all = []\n  def setter(self, f): self.all.append(f)\nR = R()\ndef draw(): return R\n"
KEPT = {
    "tasks/kept.py": "ALL = []",
    "tasks/one.py": "from tasks.kept import ALL\nALL.append(1)",
    "tasks/two.py": "from tasks.kept import ALL\nALL.append(2)",
}
FLAGS = {"tasks/flags.py": "TYPE_CHECKING = True"}
PACKAGE = {"models/__init__.py": "", "models/a.py": "N = 1"}
LISTED = {"models/__init__.py": "__all__ = ['a']", "models/a.py": "N = 1"}

UNLIKE = {
    "an import below a registration": (
        "import tasks.one\n" + REGISTER + "@register\ndef two(): pass",
        REGISTER + "@register\ndef two(): pass\nimport tasks.one",
        KEPT,
    ),
    "imports that register": (
        "import tasks.one\nimport tasks.two\nfrom tasks.kept import ALL\ndef draw(): return ALL",
        "import tasks.two\nimport tasks.one\nfrom tasks.kept import ALL\ndef draw(): return ALL",
        KEPT,
    ),
    "two imports of one name": (
        "from tasks.one import ALL\nfrom tasks.kept import ALL\ndef draw(): return ALL",
        "from tasks.kept import ALL\nfrom tasks.one import ALL\ndef draw(): return ALL",
        KEPT,
    ),
    "an operator of what is imported": (
        "from tasks.steps import BY\nSTEP = BY >> 0.25\ndef draw(): return 1",
        "from tasks.steps import BY\nSTEP = BY >> 0.75\ndef draw(): return 1",
        {"tasks/steps.py": "BY = Register()"},
    ),
    "an entry of what is imported": (
        "from tasks import steps\nSTEP = steps.BY[0.25]\ndef draw(): return 1",
        "from tasks import steps\nSTEP = steps.BY[0.75]\ndef draw(): return 1",
        {"tasks/steps.py": "BY = Register()"},
    ),
    "a decorator with the name of one without effects": (
        "from functools import cache\ndef cache(f): f()\n@cache\ndef other(): return 1\ndef draw(): return 1",
        "from functools import cache\ndef cache(f): f()\n@cache\ndef other(): return 2\ndef draw(): return 1",
        {},
    ),
    "a decorator with the name of a builtin": (
        "def property(f): f()\n@property\ndef other(): return 1\ndef draw(): return 1",
        "def property(f): f()\n@property\ndef other(): return 2\ndef draw(): return 1",
        {},
    ),
    "a function with the name of one without effects": (
        "from functools import partial\nif 1:\n  def partial(n): A.append(n)\nN = partial(1)\ndef draw(): return 1",
        "from functools import partial\nif 1:\n  def partial(n): A.append(n)\nN = partial(2)\ndef draw(): return 1",
        {},
    ),
    "a name that a pattern binds": (
        "def draw():\n  match 1:\n    case TYPE_CHECKING: pass\n  if TYPE_CHECKING:\n    return 1",
        "def draw():\n  match 1:\n    case TYPE_CHECKING: pass\n  if TYPE_CHECKING:\n    return 2",
        {},
    ),
    "a name that the rest of a pattern binds": (
        "def draw():\n  match {}:\n    case {**TYPE_CHECKING}: pass\n  if TYPE_CHECKING:\n    return 1",
        "def draw():\n  match {}:\n    case {**TYPE_CHECKING}: pass\n  if TYPE_CHECKING:\n    return 2",
        {},
    ),
    "a name that an exception binds": (
        "def draw():\n  try: f()\n  except ValueError as TYPE_CHECKING:\n    if TYPE_CHECKING:\n      return 1",
        "def draw():\n  try: f()\n  except ValueError as TYPE_CHECKING:\n    if TYPE_CHECKING:\n      return 2",
        {},
    ),
    "an asynchronous function of that name": (
        "async def TYPE_CHECKING(): pass\nif TYPE_CHECKING:\n  N = 1\ndef draw(): return N",
        "async def TYPE_CHECKING(): pass\nif TYPE_CHECKING:\n  N = 2\ndef draw(): return N",
        {},
    ),
    "two stars": (
        "from tasks.one import *\nfrom tasks.two import *\ndef draw(): return ALL",
        "from tasks.two import *\nfrom tasks.one import *\ndef draw(): return ALL",
        KEPT,
    ),
    "a star of others": (
        "from math import *\ndef draw(): return pi",
        "from cmath import *\ndef draw(): return pi",
        {},
    ),
    "subclasses": (
        SUBCLASSES + "class One(B): pass\nclass Two(B): pass",
        SUBCLASSES + "class Two(B): pass\nclass One(B): pass",
        {},
    ),
    "a subclass of a class with a metaclass": (
        META + "class P(B):\n  n = 1\ndef draw(): return ALL",
        META + "class P(B):\n  n = 2\ndef draw(): return ALL",
        {},
    ),
    "a default after a change": (
        "X = []\ndef draw(n=len(X)): return n\nX.append(1)",
        "X = []\nX.append(1)\ndef draw(n=len(X)): return n",
        {},
    ),
    "a default between two values": (
        "N = 1\ndef draw(n=N): return n\nN = 2",
        "N = 1\nN = 2\ndef draw(n=N): return n",
        {},
    ),
    "a class attribute after a change": (
        "X = []\nclass C:\n  n = len(X)\nX.append(1)\ndef draw(): return C.n",
        "X = []\nX.append(1)\nclass C:\n  n = len(X)\ndef draw(): return C.n",
        {},
    ),
    "what is called a setter": (
        SETTER + "@R.setter\ndef x(): return 1",
        SETTER + "@R.setter\ndef x(): return 2",
        {},
    ),
    "an iterator that is taken apart": (
        "IT = iter([1, 2, 3])\nA, B = IT\ndef draw(): return IT",
        "IT = iter([1, 2, 3])\ndef draw(): return IT",
        {},
    ),
    "an iterator that is searched": (
        "IT = iter([1, 2, 3])\nX = 1 in IT\ndef draw(): return next(IT)",
        "IT = iter([1, 2, 3])\ndef draw(): return next(IT)",
        {},
    ),
    "a look into what makes what is missing": (
        "import collections\nD = collections.defaultdict(int)\nX = D['a']\ndef draw(): return D",
        "import collections\nD = collections.defaultdict(int)\ndef draw(): return D",
        {},
    ),
    "a module that is handed on with its package": (
        "import models, models.a\ndef draw(): return getattr(models, 'a').N",
        "import models, models.a\ndef draw(): return getattr(models, 'a').N",
        PACKAGE,
    ),
    "the names of a module": (
        "import models.a as m\ndef draw(): return m.__dict__['N']",
        "import models.a as m\ndef draw(): return m.__dict__['N']",
        PACKAGE,
    ),
    "a module that __all__ lists": (
        "from models import *\ndef draw(): return a.N",
        "from models import *\ndef draw(): return a.N",
        LISTED,
    ),
    "a TYPE_CHECKING from a neighbour named typing": (
        "from .typing import TYPE_CHECKING\nif TYPE_CHECKING:\n  N = 1\ndef draw(): return N",
        "from .typing import TYPE_CHECKING\nif TYPE_CHECKING:\n  N = 2\ndef draw(): return N",
        {"tasks/typing.py": "TYPE_CHECKING = True"},
    ),
    "a TYPE_CHECKING from elsewhere": (
        "from tasks.flags import TYPE_CHECKING\nif TYPE_CHECKING:\n  N = 1\ndef draw(): return N",
        "from tasks.flags import TYPE_CHECKING\nif TYPE_CHECKING:\n  N = 2\ndef draw(): return N",
        FLAGS,
    ),
    "a TYPE_CHECKING that a star brings": (
        "from tasks.flags import *\nif TYPE_CHECKING:\n  N = 1\ndef draw(): return N",
        "from tasks.flags import *\nif TYPE_CHECKING:\n  N = 2\ndef draw(): return N",
        FLAGS,
    ),
    "a star below a function": (
        "from tasks.one import *\ndef two(): return 1\ndef draw(): return two()",
        "def two(): return 1\nfrom tasks.one import *\ndef draw(): return two()",
        KEPT,
    ),
    "a star and an import of one name": (
        "from tasks.one import *\nfrom tasks.kept import ALL\ndef draw(): return ALL",
        "from tasks.kept import ALL\nfrom tasks.one import *\ndef draw(): return ALL",
        KEPT,
    ),
    "two imports of one name in a function": (
        "def draw():\n  from tasks.one import ALL\n  from tasks.kept import ALL\n  return ALL",
        "def draw():\n  from tasks.kept import ALL\n  from tasks.one import ALL\n  return ALL",
        KEPT,
    ),
    "imports in a function that register": (
        "from tasks.kept import ALL\ndef draw():\n  import tasks.one\n  import tasks.two\n  return ALL",
        "from tasks.kept import ALL\ndef draw():\n  import tasks.two\n  import tasks.one\n  return ALL",
        KEPT,
    ),
    "a parameter of that name": (
        "def draw(TYPE_CHECKING=True):\n  if TYPE_CHECKING:\n    return 1",
        "def draw(TYPE_CHECKING=True):\n  if TYPE_CHECKING:\n    return 2",
        {},
    ),
}


GIVING = "def __getattr__(name):\n  {}\n"
FROM_LISTED = "from models import *\ndef draw(): return a.N"
UNLIKE |= {
    "a module that a computed __all__ lists": (
        FROM_LISTED,
        FROM_LISTED,
        LISTED | {"models/__init__.py": "__all__ = [name for name in 'a']"},
    ),
    "a module that an __all__ from elsewhere lists": (
        FROM_LISTED,
        FROM_LISTED,
        LISTED | {"models/__init__.py": "from .names import __all__", "models/names.py": "__all__ = ['a']"},
    ),
    "a module that is put into __all__": (
        FROM_LISTED,
        FROM_LISTED,
        LISTED | {"models/__init__.py": "__all__ = []\n__all__.append(chr(97))"},
    ),
    "a module that is added to __all__": (
        FROM_LISTED,
        FROM_LISTED,
        LISTED | {"models/__init__.py": "__all__ = ['b']\n__all__ += ['a']", "models/b.py": ""},
    ),
    "a name that a package gives instead of a module": (
        "from models import b\ndef draw(): return b.N",
        "from models import b\ndef draw(): return b.N",
        {"models/__init__.py": GIVING.format("from models import a; return a"), "models/b.py": "N = 3"}
        | {"models/a.py": "N = 1"},
    ),
    "what a package does when it is asked for a name": (
        "import models.a\ndef draw(): return models.a.N",
        "import models.a\ndef draw(): return models.a.N",
        {
            "models/__init__.py": "from models import b\n" + GIVING.format("return b.M"),
            "models/b.py": "from models.a import N as M",
        }
        | {"models/a.py": "X = 0\nN = 1"},
    ),
}


@pytest.mark.parametrize("kind", UNLIKE)
def test_what_makes_something_else_has_another_fingerprint(project: Path, kind: str) -> None:
    one, other, files = UNLIKE[kind]
    for name, code in files.items():
        write(project, name, code)
    before = drawn(project, one)
    if one == other:
        write(project, "models/a.py", "N = 2")
    assert changed(before, drawn(project, other)) != set()


ALIKE = {
    "sorted imports in a function": (
        "def draw():\n  import json\n  from tasks.learning import constants\n  import abc\n  return 1",
        "def draw():\n  import abc\n  import json\n  from tasks.learning import constants\n  return 1",
    ),
    "names of one import in a function": (
        "def draw():\n  if 1:\n    from math import pi, e\n  return pi",
        "def draw():\n  if 1:\n    from math import e, pi\n  return pi",
    ),
    "sorted imports of what only defines": (
        "import tasks.learning.constants\nimport json\ndef draw(): return 1",
        "import json\nimport tasks.learning.constants\ndef draw(): return 1",
    ),
    "functions with constants as defaults": (
        "N = 1\nT = (1, 2)\ndef draw(n=N, t=T): return f\ndef f(n=N): return n",
        "N = 1\nT = (1, 2)\ndef f(n=N): return n\ndef draw(n=N, t=T): return f",
    ),
    "classes": (
        "class A: n = 1\nclass C(A): m = 2\ndef draw(): return A, C",
        "def draw(): return A, C\nclass A: n = 1\nclass C(A): m = 2",
    ),
    "an abstract class": (
        "import abc\nclass A(metaclass=abc.ABCMeta): pass\nclass U(A): n = 1\ndef draw(): return A",
        "import abc\nclass A(metaclass=abc.ABCMeta): pass\nclass U(A): n = 2\ndef draw(): return A",
    ),
    "a property's setter": (
        "class C:\n  @property\n  def a(self): return 1\n  @a.setter\n  def a(self, x): pass\ndef draw(): return 1",
        "def draw(): return 1",
    ),
}


@pytest.mark.parametrize("kind", ALIKE)
def test_what_makes_the_same_has_the_same_fingerprint(project: Path, kind: str) -> None:
    one, other = ALIKE[kind]
    assert drawn(project, one) == drawn(project, other)


DYNAMIC = [
    "import importlib\ndef draw(): return importlib.import_module('a')",
    "from importlib import import_module as load\ndef draw(): return load('a')",
    "import importlib.util as u\ndef draw(): return u.module_from_spec(None)",
    "import importlib\nLOAD = importlib\ndef draw(): return LOAD",
    "def draw(): return __import__('a')",
    "def draw(): return exec('a')",
    "def draw(): return eval('a')",
    "def draw(): return globals()['a']",
    "def draw(): return locals()['a']",
    "ALL = dict(vars())\ndef draw(): return ALL",
    "import sys\ndef draw(): return sys.modules['a']",
    "import runpy\ndef draw(): return runpy.run_path('a')",
    "import importlib\nimportlib.reload(importlib)\ndef draw(): return 1",
    "def other(): pass\ndef draw(): return other.__globals__['a']",
    "import sys\ndef draw(): return sys._getframe().f_globals",
    "import inspect\ndef draw(): return inspect.getmodule(draw)",
    "from pydoc import locate\ndef draw(): return locate('a')",
    "import sys\ndef draw(): return sys.path.insert(0, 'a')",
    "import types\ndef draw(): return types.FunctionType(compile('a', 'a', 'exec'), {})",
    "def draw(): return compile('a', 'a', 'exec')",
    "from importlib.metadata import EntryPoint\ndef draw(): return EntryPoint('a', 'a:b', 'g').load()",
    "from pydantic import ImportString\ndef draw(): return ImportString",
    "import inspect\ndef draw(f): return inspect.unwrap(f).__globals__",
    "import inspect\ndef draw(f): return inspect.getclosurevars(f)",
    "def draw(f): return getattr(f, '__globals__')",
    "from operator import attrgetter\ndef draw(f): return attrgetter('__globals__')(f)",
    "def draw(error): return error.__traceback__.tb_frame.f_globals",
    "def draw(work): return work().gi_frame",
    "def draw(): return __builtins__['exec']('a')",
    "def draw(): return __loader__",
    "import gc\ndef draw(): return gc.get_objects()",
    "import sys\ndef draw(): return getattr(sys, 'modules')['a']",
    "import sys\ndef draw(): return sys.__dict__['modules']",
    "import sys as s\nkept = s\ndef draw(): return kept.modules",
    "import os\ndef draw(): return os.sys.modules['a']",
    "import json\ndef draw(): return json.__path__",
    "import json\njson.__path__.append('a')\ndef draw(): return 1",
    "import pickle\ndef draw(): return pickle.loads(b'ctasks.learning.loop\\nf\\n.')",
    "import logging.config\ndef draw(): return logging.config.dictConfig({'()': 'tasks.learning.loop.f'})",
    "import timeit\ndef draw(): return timeit.timeit('from tasks.learning.loop import f')",
    "from unittest import mock\ndef draw(): return mock.patch('tasks.learning.loop.f')",
    "import subprocess, sys\ndef draw(): return subprocess.run([sys.executable, '-m', 'a'])",
    "import os\ndef draw(): return os.system('python -m a')",
    "import types\ndef draw(): return types.LambdaType(None, {})",
    "import ctypes\ndef draw(): return ctypes.pythonapi",
    "import typing\ndef draw(): return typing.get_type_hints(draw)",
    "import inspect\ndef draw(): return inspect.getsource(draw)",
    "from pathlib import Path\ndef draw(): return Path(__file__).with_name('a.txt').read_text()",
    "from importlib import resources\ndef draw(): return resources.files('tasks')",
]


@pytest.mark.parametrize("code", DYNAMIC)
def test_code_that_is_loaded_by_a_computed_name_is_refused_with_the_line(project: Path, code: str) -> None:
    with pytest.raises(UnseenCodeError, match=r"^tasks/draw\.py, line [12]: .* the cache does not see"):
        drawn(project, code)
    assert RATE in drawn(project, code, loads=["tasks.learning.constants"])


@pytest.mark.parametrize(
    "code",
    [
        "import importlib.metadata\ndef draw(): return importlib.metadata.version('a')",
        "import importlib.util\ndef draw(): return importlib.util.find_spec('a')",
        "import sys\ndef draw(): return sys.maxsize",
        "import gc\ndef draw(): return gc.collect()",
        "import inspect\ndef draw(f): return inspect.signature(f)",
        "def draw(x): return x.__dict__, x.__class__.__name__",
        "'__globals__'\ndef draw(): 'See __globals__.'",
        "def eval(x): return x\ndef draw(): return eval(1)",
        "def other(): return exec('a')\ndef draw(): return 1",
    ],
)
def test_what_loads_no_code_is_not_refused(project: Path, code: str) -> None:
    assert "draw" in drawn(project, code)


@pytest.mark.parametrize(
    "line", ["__path__ = ['a']", "__path__.append('a')", "__path__ += ['a']", "__path__[:] = ['a']"]
)
def test_a_package_that_changes_where_its_modules_are_found_is_refused(project: Path, line: str) -> None:
    write(project, "models/__init__.py", f"X = 1\n{line}")
    write(project, "models/a.py", "N = 1")
    with pytest.raises(
        UnseenCodeError, match=r"^models/__init__\.py, line 2: __path__ can run code or read files that the cache"
    ):
        drawn(project, "from models.a import N\ndef draw(): return N")


def test_a_module_that_is_not_the_projects_is_refused(project: Path) -> None:
    with pytest.raises(ValueError, match=r"numpy\.linalg is not a module of this project"):
        fingerprint(project, "numpy.linalg.norm")


def test_a_module_that_cannot_be_parsed_is_named(project: Path) -> None:
    write(project, "tasks/learning/constants.py", "RATE = = 1")
    with pytest.raises(SyntaxError) as error:
        fingerprint(project)
    assert error.value.filename == str(project / "tasks/learning/constants.py")
    assert error.value.lineno == 1


# ---- settings


SETTINGS = """
from typing import Annotated, ClassVar
from pydantic import BaseModel, Field, field_validator
LARGEST = 9
Small = Annotated[int, Field(le=LARGEST)]
class Base(BaseModel):
    pass
class Inner(Base):
    rows: Small = Field(3, description="Rows.")
    @field_validator("rows")
    @classmethod
    def _is_small(cls, rows): return min(rows, LARGEST)
    @property
    def twice(self): return 2 * self.rows
class Settings(Base):
    inner: Inner = Field(default_factory=lambda: Inner())
    kind: ClassVar[str] = "a"
"""
CLASSES: dict[str, tuple[str, ...]] = {f"tasks.settings.{name}": () for name in ("Base", "Inner", "Settings")}

STAGE = """
from tasks.caching.stage import stage
from tasks.settings import Settings
@stage(Settings, outputs=())
def draw(view: Settings): return view
"""


@pytest.fixture
def settings(project: Path) -> Path:
    write(project, "tasks/settings.py", SETTINGS)
    write(project, "tasks/draw.py", STAGE)
    return project


@pytest.mark.parametrize("call", ["cls(kind=2)", "type(self)(kind=2)", "self.__class__(kind=2)"])
def test_the_defaults_of_settings_that_make_their_own_count(settings: Path, call: str) -> None:
    """What such a call leaves out stands in no key."""
    own = call.partition("(")[0].replace("type", "self")
    method = f"    def other({own.partition('.')[0]}): return {call}\n"
    code = SETTINGS.replace("    @property\n    def twice", f"{method}    @property\n    def twice")
    write(settings, "tasks/settings.py", code)
    before = fingerprint(settings, "tasks.draw.draw", settings=CLASSES)
    write(settings, "tasks/settings.py", code.replace("Field(3, ", "Field(4, "))
    assert changed(before, fingerprint(settings, "tasks.draw.draw", settings=CLASSES)) == {"tasks/settings.py: Inner"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LARGEST = 9", "LARGEST = 10"),
        ("Field(3, ", "Field(4, "),
        ("Rows.", "Lines."),
        ("return min(rows, LARGEST)", "return rows"),
        ("    rows: Small", "    more: int = 1\n    rows: Small"),
        ("rows: Small", "rows: int"),
        ("lambda: Inner()", "lambda: Inner(rows=1)"),
    ],
)
def test_what_says_of_settings_which_values_there_are_is_no_code(settings: Path, old: str, new: str) -> None:
    before = fingerprint(settings, "tasks.draw.draw", settings=CLASSES)
    assert "tasks/settings.py: Inner" in before
    write(settings, "tasks/settings.py", SETTINGS.replace(old, new))
    assert changed(before, fingerprint(settings, "tasks.draw.draw", settings=CLASSES)) == set()


@pytest.mark.parametrize(("old", "new", "place"), [("2 * self", "3 * self", "Inner"), ('= "a"', '= "b"', "Settings")])
def test_what_settings_do_is(settings: Path, old: str, new: str, place: str) -> None:
    before = fingerprint(settings, "tasks.draw.draw", settings=CLASSES)
    write(settings, "tasks/settings.py", SETTINGS.replace(old, new))
    assert changed(before, fingerprint(settings, "tasks.draw.draw", settings=CLASSES)) == {
        f"tasks/settings.py: {place}"
    }


@pytest.mark.parametrize("use", ["Settings()", "Settings.model_validate(view)", "isinstance(view, Settings)", "Made()"])
def test_a_class_of_settings_that_code_makes_counts_as_a_whole(settings: Path, use: str) -> None:
    made = "from pydantic import BaseModel\nclass Made(BaseModel):\n    inner: Settings = None\n"
    write(settings, "tasks/draw.py", STAGE.replace("return view", f"return {use}") + made)
    before = fingerprint(settings, "tasks.draw.draw", settings=CLASSES)
    write(settings, "tasks/settings.py", SETTINGS.replace("Field(3, ", "Field(4, "))
    assert changed(before, fingerprint(settings, "tasks.draw.draw", settings=CLASSES)) == {"tasks/settings.py: Inner"}


def test_a_class_that_holds_settings_makes_none(settings: Path) -> None:
    held = "from dataclasses import dataclass\n@dataclass\nclass Held:\n    inner: Settings\n"
    write(settings, "tasks/draw.py", STAGE.replace("return view", "return Held(view)") + held)
    before = fingerprint(settings, "tasks.draw.draw", settings=CLASSES)
    write(settings, "tasks/settings.py", SETTINGS.replace("Field(3, ", "Field(4, "))
    assert fingerprint(settings, "tasks.draw.draw", settings=CLASSES) == before


@pytest.mark.parametrize("line", ["_cache: int = 1", "_cache = 1", "left_out: int = Field(1, exclude=True)"])
def test_a_validator_that_sets_what_no_key_has_counts(settings: Path, line: str) -> None:
    private = SETTINGS.replace("    rows: Small", f"    {line}\n    rows: Small")
    write(settings, "tasks/settings.py", private)
    before = fingerprint(settings, "tasks.draw.draw", settings=CLASSES)
    write(settings, "tasks/settings.py", private.replace("return min(rows, LARGEST)", "return rows"))
    assert "tasks/settings.py: Inner" in changed(before, fingerprint(settings, "tasks.draw.draw", settings=CLASSES))


@pytest.mark.parametrize(
    "body",
    [
        "object.__setattr__(cls, 'a', NUMBER); return rows",
        "KEPT['a'] = NUMBER; return rows",
        "cls.a = NUMBER; return rows",
    ],
)
def test_a_validator_that_sets_something_elsewhere_counts(settings: Path, body: str) -> None:
    sets = "KEPT = {}\n" + SETTINGS.replace("return min(rows, LARGEST)", body)
    write(settings, "tasks/settings.py", sets.replace("NUMBER", "1"))
    before = fingerprint(settings, "tasks.draw.draw", settings=CLASSES)
    write(settings, "tasks/settings.py", sets.replace("NUMBER", "2"))
    assert changed(before, fingerprint(settings, "tasks.draw.draw", settings=CLASSES)) == {"tasks/settings.py: Inner"}


def of_settings(project: Path, code: str) -> dict[str, str]:
    """The fingerprint of the stage with these settings."""
    write(project, "tasks/settings.py", code)
    return fingerprint(project, "tasks.draw.draw", settings=CLASSES)


#: Where settings are asked for their declarations, or make others like themselves: in the stage, and in a method.
ASKING = [
    "view.model_fields['rows'].default",
    "type(view.inner).model_validate({})",
    "type(view.inner)()",
    "view.inner.__class__()",
    "view.inner.model_construct()",
    "[kind() for kind in [type(view.inner)]]",
    "getattr(view.inner, 'model_fields')",
    "list(map(type(view.inner).model_validate, [{}]))",
    "view['inner'].__pydantic_fields__",
]


@pytest.mark.parametrize("use", ASKING)
def test_settings_count_in_full_where_code_may_learn_how_they_are_declared(settings: Path, use: str) -> None:
    write(settings, "tasks/draw.py", STAGE.replace("return view", f"return {use}"))
    before = of_settings(settings, SETTINGS)
    after = of_settings(settings, SETTINGS.replace("Field(3, ", "Field(4, "))
    assert changed(before, after) == {"tasks/settings.py: Inner"}
    own = SETTINGS.replace(
        "return 2 * self.rows", f"return {use.replace('view.inner', 'self').replace('view', 'self')}"
    )
    write(settings, "tasks/draw.py", STAGE)
    before = of_settings(settings, own)
    assert changed(before, of_settings(settings, own.replace("Field(3, ", "Field(4, "))) == {"tasks/settings.py: Inner"}


@pytest.mark.parametrize(
    "use",
    [
        "type(view).__name__",
        "view.inner.__class__.__name__",
        "type(view.inner) is int",
        "view.inner.__class__ in (int, str)",
        "make().__class__.__name__",
        "view.inner.model_dump()",
        "view.inner.model_copy()",
    ],
)
def test_what_settings_are_called_or_hold_says_nothing_of_how_they_are_declared(settings: Path, use: str) -> None:
    write(settings, "tasks/draw.py", STAGE.replace("return view", f"return {use}"))
    before = of_settings(settings, SETTINGS)
    assert of_settings(settings, SETTINGS.replace("Field(3, ", "Field(4, ")) == before


def test_a_method_that_describes_settings_may_read_their_declarations(settings: Path) -> None:
    method = "    @classmethod\n    def __get_pydantic_json_schema__(cls, a, b): return cls.model_fields, type(a)()\n"
    code = SETTINGS.replace("class Inner(Base):\n", f"class Inner(Base):\n{method}")
    write(
        settings,
        "tasks/draw.py",
        STAGE.replace("return view", "return Inner()").replace("Settings\n", "Inner, Settings\n", 1),
    )
    before = of_settings(settings, code)
    assert of_settings(settings, code.replace("lambda: Inner()", "lambda: Inner(rows=1)")) == before


NESTED = {
    "a plain class": "    class Limits:\n        rate: float = 1.0\n",
    "a dataclass": "    @dataclass\n    class Limits:\n        rate: float = 1.0\n",
    "a class in a method": "    def limits(self):\n        class Limits:\n            rate: float = 1.0\n",
}


@pytest.mark.parametrize("kind", NESTED)
def test_the_constants_of_a_class_in_a_class_of_settings_count(settings: Path, kind: str) -> None:
    code = SETTINGS.replace("    @property", f"{NESTED[kind]}    @property")
    before = of_settings(settings, code)
    after = of_settings(settings, code.replace("rate: float = 1.0", "rate: float = 2.0"))
    assert changed(before, after) == {"tasks/settings.py: Inner"}


def test_a_name_in_a_class_of_settings_that_is_no_setting_counts(settings: Path) -> None:
    """As pydantic says, which knows what an alias of ClassVar or of an excluded field stands for."""
    code = SETTINGS.replace("    rows: Small", "    shift: Shift = 1.0\n    rows: Small")
    edited = code.replace("= 1.0", "= 2.0")
    assert of_settings(settings, code) == of_settings(settings, edited)
    known = CLASSES | {"tasks.settings.Inner": ("shift",)}
    after = fingerprint(settings, "tasks.draw.draw", settings=known)
    write(settings, "tasks/settings.py", code)
    before = fingerprint(settings, "tasks.draw.draw", settings=known)
    assert changed(before, after) == {"tasks/settings.py: Inner"}


SHAPES = [
    ("list['Shape']", ""),
    ("dict[str, tuple['Shape', ...]]", ""),
    ("Annotated[list['Shape'], 1]", ""),
    ("'list[\"Shape\"] | None'", ""),
    ("Shapes", "Shapes = list['Shape']\n"),
    ("Shapes", "Shapes: type = list['Shape | None']\n"),
]


@pytest.mark.parametrize(("kind", "alias"), SHAPES)
def test_a_text_in_the_type_of_a_setting_is_followed(settings: Path, kind: str, alias: str) -> None:
    shape = "class Shape:\n    def area(self): return 1\n"
    code = SETTINGS.replace("    rows: Small", f"    shapes: {kind} = ()\n    rows: Small")
    code = code.replace("class Base", f"{shape}{alias}class Base")
    before = of_settings(settings, code)
    assert changed(before, of_settings(settings, code.replace("return 1", "return 2"))) == {"tasks/settings.py: Shape"}


def test_a_text_that_a_setting_may_be_is_no_type(settings: Path) -> None:
    shape = "from typing import Literal\nclass Shape:\n    def area(self): return 1\n"
    code = SETTINGS.replace("    rows: Small", "    shapes: Literal['Shape'] = 'Shape'\n    rows: Small")
    code = code.replace("class Base", f"{shape}class Base")
    before = of_settings(settings, code)
    assert of_settings(settings, code.replace("return 1", "return 2")) == before


@pytest.mark.parametrize("call", ["fill(cls)", "cls.fill(rows)", "fill(rows, model=cls)"])
def test_a_validator_that_passes_its_model_on_counts_with_what_it_calls(settings: Path, call: str) -> None:
    """That may set what is in no key."""
    code = SETTINGS.replace("return min(rows, LARGEST)", f"{call}; return rows")
    code = code.replace("class Base", "def fill(model): object.__setattr__(model, 'kept', 1)\nclass Base")
    code = code.replace("    @property", "    @classmethod\n    def fill(cls, rows): return 1\n    @property")
    before = of_settings(settings, code)
    place = "Inner" if call.startswith("cls") else "fill"
    edited = code.replace("'kept', 1", "'kept', 2") if place == "fill" else code.replace(f"{call};", f"{call}; 1 + 1;")
    assert changed(before, of_settings(settings, edited)) == {f"tasks/settings.py: {place}"}


@pytest.mark.parametrize("look", ["getattr(cls, 'rows')", "isinstance(cls, int)", "cls.rows", "fill(rows)"])
def test_a_validator_that_only_looks_at_its_model_does_not_count(settings: Path, look: str) -> None:
    code = SETTINGS.replace("return min(rows, LARGEST)", f"{look}; return rows")
    before = of_settings(settings, code)
    assert of_settings(settings, code.replace(f"{look};", "")) == before


@pytest.mark.parametrize("kind", ["Final[float]", "Final", '"ClassVar[float]"', "'Final[float]'"])
@pytest.mark.parametrize("module", ["typing", "typing_extensions"])
def test_a_constant_of_a_class_of_settings_is_no_field(settings: Path, kind: str, module: str) -> None:
    final = SETTINGS.replace("    rows: Small", f"    shift: {kind} = 1.0\n    rows: Small")
    constant = f"from {module} import ClassVar, Final\n{final}"
    write(settings, "tasks/settings.py", constant)
    before = fingerprint(settings, "tasks.draw.draw", settings=CLASSES)
    write(settings, "tasks/settings.py", constant.replace("= 1.0", "= 2.0"))
    assert changed(before, fingerprint(settings, "tasks.draw.draw", settings=CLASSES)) == {"tasks/settings.py: Inner"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("class M(BaseModel):\n  n: int = Field(1, ge=1)", "class M(BaseModel):\n  n: int = Field(1, ge=2)"),
        ("@dataclass\nclass M:\n  n: Annotated[int, 1]", "@dataclass\nclass M:\n  n: Annotated[int, 2]"),
    ],
)
def test_what_models_that_are_no_settings_refuse_or_say_of_their_fields_is_code(
    project: Path, before: str, after: str
) -> None:
    head = "from dataclasses import dataclass\nfrom typing import Annotated\nfrom pydantic import BaseModel, Field\n"
    tail = "\ndef draw(): return M"
    assert changed(drawn(project, head + before + tail), drawn(project, head + after + tail)) == {"M"}


# ---- where the project ends


def test_all_that_lies_in_the_project_is_its_code(project: Path) -> None:
    write(project, "models/__init__.py", "")
    write(project, "models/net.py", "WIDTH = 3")
    write(project, "losses.py", "SCALE = 1")
    code = "from models.net import WIDTH\nimport losses\nimport numpy\ndef draw(): return WIDTH, losses.SCALE, numpy\n"
    assert {"losses.py: SCALE", "models/net.py: WIDTH"} <= drawn(project, code).keys()


@pytest.mark.parametrize("file", ["distant/__init__.py", "distant/net.py", "distant.py"])
def test_what_is_imported_from_elsewhere_without_an_installation_is_its_code_too(
    project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    write(elsewhere, file, "def far(): return 1")
    monkeypatch.syspath_prepend(elsewhere)
    name = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    code = f"from {name} import far\ndef draw(): return far()"
    before = drawn(project, code)
    write(elsewhere, file, "def far(): return 2")
    assert changed(before, drawn(project, code)) == {f"{file}: far"}


@pytest.mark.parametrize("inner", ["", "inner/"])
def test_a_package_without_code_of_its_own_is_followed_in_each_of_its_folders(
    project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, inner: str
) -> None:
    folders = [tmp_path_factory.mktemp("portion") for _ in range(2)]
    for folder, name in zip(folders, ("one", "two"), strict=True):
        write(folder, f"spread/{inner}{name}.py", "N = 1")
        monkeypatch.syspath_prepend(folder)
    package = f"spread.{inner}".replace("/", ".")
    code = f"from {package}one import N as one\nfrom {package}two import N as two\ndef draw(): return one, two"
    for folder, name in zip(folders, ("one", "two"), strict=True):
        before = drawn(project, code)
        write(folder, f"spread/{inner}{name}.py", "N = 2")
        assert changed(before, drawn(project, code)) == {f"spread/{inner}{name}.py: N"}


def test_what_is_installed_elsewhere_is_not(
    project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path_factory.mktemp("lib") / "site-packages"
    write(installed, "distant/__init__.py", "def far(): return 1")
    monkeypatch.syspath_prepend(installed)
    places = drawn(project, "from distant import far\ndef draw(): return far()")
    assert not any(place.startswith("distant") for place in places)


def test_among_installed_packages_only_its_own_are(tmp_path: Path) -> None:
    installed = tmp_path / "site-packages"
    write(installed, "tasks/draw.py", "import numpy\ndef draw(): return numpy.X")
    write(installed, "numpy/__init__.py", "X = 1\n")
    assert set(fingerprint(installed, "tasks.draw.draw")) == {"tasks/draw.py: imports", "tasks/draw.py: draw"}


def test_modules_that_import_each_other_are_read_once(project: Path) -> None:
    write(project, "tasks/learning/constants.py", "import tasks.learning.loop\nimport tasks.fit\nRATE = tasks.fit.fit")
    places = [place.partition(": ")[0] for place in fingerprint(project)]
    assert set(places) == {"tasks/fit.py", "tasks/learning/loop.py", "tasks/learning/constants.py"}


@pytest.mark.parametrize("line", ["from . import a", "from models import a", "import models.a as a"])
def test_a_package_may_import_a_module_of_its_own(project: Path, line: str) -> None:
    write(project, "models/__init__.py", f"{line}\ndef f(): return a.N")
    write(project, "models/a.py", "N = 1")
    assert "models/a.py: N" in drawn(project, "from models import f\ndef draw(): return f()")
    assert "models/a.py: N" in drawn(project, "import models\ndef draw(): return models.a.N")


def test_a_change_of_where_a_definition_lies_is_a_change(project: Path) -> None:
    before = fingerprint(project)
    write(project, "tasks/learning/rates.py", FILES["tasks/learning/constants.py"])
    write(project, "tasks/learning/loop.py", FILES["tasks/learning/loop.py"].replace("constants", "rates"))
    moved = {RATE, "tasks/learning/rates.py: RATE", "tasks/learning/loop.py: imports"}
    assert changed(before, fingerprint(project)) == moved


def test_a_hash_is_that_of_the_statement_and_not_of_its_place(project: Path) -> None:
    write(project, "tasks/one.py", "def work(): return 1")
    write(project, "tasks/two.py", "\n\ndef work(): return 1")
    (one,), (two,) = (fingerprint(project, f"tasks.{name}.work").values() for name in ("one", "two"))
    assert one == two


def test_a_hash_is_long_enough_that_no_two_edits_share_it(project: Path) -> None:
    assert all(re.fullmatch("[0-9a-f]{16}", digest) for digest in fingerprint(project).values())


def test_the_fingerprint_of_the_real_project_is_quick() -> None:
    parse.cache_clear()
    started = time.perf_counter()
    first = caching.fingerprint("tasks.train", "train")
    middle = time.perf_counter()
    assert caching.fingerprint("tasks.train", "train") == first
    print(f"{len(first)} places: {middle - started:.4f} s, again {time.perf_counter() - middle:.4f} s")
    assert {"tasks/learning/training/loop.py: fit", "tasks/train.py: train"} <= first.keys()
