"""What of a statement shapes a result, and what does not."""

from pathlib import Path

import pytest

from tasks.caching.code.syntax import Module, parse


def module(code: str) -> Module:
    """A module with some names imported before it."""
    names = "from typing import Annotated, Literal\nimport functools\nfrom pydantic import BaseModel, Field\n"
    return parse(Path("module.py"), (names + code).encode(), "package")


def texts(code: str) -> list[str]:
    """What counts of each statement that is no import."""
    found = module(code)
    kept = (index for index, _ in enumerate(found.body) if not found.is_import(index))
    return [found.statement(index, "code").text for index in kept]


SAME = {
    "comments": ("def f(): return 1  # one", "def f():\n    # another\n    return 1"),
    "docstrings": ("def f():\n  'One.'\n  return 1", "def f():\n  'Two.'\n  return 1"),
    "a docstring that is all": ("class E(Exception):\n  'One.'", "class E(Exception): pass"),
    "texts that stand alone": ("def f(): 'a'; return 1; 'b'", "def f(): return 1"),
    "an ellipsis": ("def f(): ...", "def f(): pass"),
    "a needless pass": ("def f():\n  pass\n  return 1", "def f(): return 1"),
    "parentheses": ("X = (1 + 2)", "X = 1 + 2"),
    "a trailing comma": ("X = f(\n  1,\n  2,\n)", "X = f(1, 2)"),
    "quotes": ("X = 'a'", 'X = "a"'),
    "a u before a text": ("X = u'a'", "X = 'a'"),
    "adjacent texts": ("X = 'a' 'b'", "X = 'ab'"),
    "another way to write a number": ("X = 0x10, 1_000, 1E3", "X = 16, 1000, 1000.0"),
    "annotations of a function": (
        "def f(a: int, *b: str, c: 'T' = 1) -> float: return a",
        "def f(a, *b, c=1): return a",
    ),
    "annotations of a method": ("class C:\n  def f(self, a: int) -> 'C': pass", "class C:\n  def f(self, a): pass"),
    "annotations under a quiet decorator": (
        "@functools.lru_cache(3)\ndef f(a: int): pass",
        "@functools.lru_cache(3)\ndef f(a): pass",
    ),
    "an annotation of a variable": ("X: int = 1", "X = 1"),
    "an annotation in a function": ("def f():\n  x: int = 1\n  return x", "def f():\n  x = 1\n  return x"),
    "another annotation of a local name": ("def f():\n  x: int\n  return x", "def f():\n  x: str\n  return x"),
    "imports in one line": ("def f():\n  import a\n  import b", "def f():\n  import a, b"),
    "names in one line": ("def f():\n  from a import b, c", "def f():\n  from a import b\n  from a import c"),
    "what is for type checkers": ("def f():\n  if TYPE_CHECKING:\n    x = 1\n  return 2", "def f(): return 2"),
    "texts of a field": (
        "class C(BaseModel):\n  x: int = Field(1, description='a', title='b', examples=[1])",
        "class C(BaseModel):\n  x: int = Field(1)",
    ),
}


@pytest.mark.parametrize("kind", SAME)
def test_what_makes_nothing_is_no_code(kind: str) -> None:
    one, other = SAME[kind]
    assert texts(one) == texts(other)


DIFFERENT = [
    # Of what is no setting: code may try what is refused.
    ("class C(BaseModel):\n  x: int = Field(1, ge=0)", "class C(BaseModel):\n  x: int = Field(1)"),
    ("X = Annotated[str, Field(pattern='a')]", "X = Annotated[str, Field()]"),
    ("X = 1", "X = 2"),
    ("X = 1", "X = 1.0"),
    ("X = 1", "X = True"),
    ("X = 0.0", "X = -0.0"),
    ("X = 'a'", "X = b'a'"),
    ("X = ''", "X = ' '"),
    ("X = None", "X = 'None'"),
    ("X = ...", "X = Ellipsis"),
    ("X = a", "X = 'a'"),
    ("X = a.b", "X = a.c"),
    ("X = a.b", "X = f().b"),
    ("X = Call", "X = Call()"),
    ("X = f(a)", "X = f(*a)"),
    ("X = f(a=1)", "X = f(b=1)"),
    ("X = f(a, b)", "X = f(b, a)"),
    ("X = f(a, b=c)", "X = f(a, c)"),
    ("X = [a, b]", "X = (a, b)"),
    ("X = [[a], b]", "X = [[a, b]]"),
    ("X = {a: b}", "X = {a, b}"),
    ("X = a[1:2]", "X = a[1:2:3]"),
    ("X = a + b", "X = a - b"),
    ("X = a < b", "X = a <= b"),
    ("X = a and b", "X = a or b"),
    ("X = a if b else c", "X = c if b else a"),
    ("X = lambda a: 1", "X = lambda b: 1"),
    ("X = f'{a}'", "X = f'{a!r}'"),
    ("X = f'{a:1}'", "X = f'{a:2}'"),
    ("X = [a for a in b]", "X = [a for a in b if a]"),
    ("X = [a for a in b]", "X = (a for a in b)"),
    ("def f(): pass", "def f(): return 1"),
    ("def f(): pass", "async def f(): pass"),
    ("def f(): pass", "def g(): pass"),
    ("def f(a): pass", "def f(b): pass"),
    ("def f(a, b): pass", "def f(a, /, b): pass"),
    ("def f(a, b): pass", "def f(a, *, b): pass"),
    ("def f(a, *b): pass", "def f(a, **b): pass"),
    ("def f(a=1): pass", "def f(a=2): pass"),
    ("def f(*, a, b=None): pass", "def f(*, a=None, b): pass"),
    ("def f(a, b=1): pass", "def f(a=1, b=1): pass"),
    ("def f(a): pass", "@functools.cache\ndef f(a): pass"),
    ("@functools.lru_cache(1)\ndef f(a): pass", "@functools.lru_cache(2)\ndef f(a): pass"),
    ("@other\ndef f(a: int): pass", "@other\ndef f(a: str): pass"),
    ("@other\ndef f() -> int: pass", "@other\ndef f() -> str: pass"),
    ("class C: x = 1", "class C: x = 2"),
    ("class C(A): pass", "class C(B): pass"),
    ("class C: x: int = 1", "class C: x: float = 1"),
    ("class C: x: int", "class C: y: int"),
    ("class C: x: int = 1", "class C: x = 1"),
    ("class C:\n  def f(self): return 1", "class C:\n  def f(self): return 2"),
    ("class C(BaseModel): x: int = Field(1)", "class C(BaseModel): x: int = Field(2)"),
    ("class C(BaseModel): x: int = Field(1, alias='a')", "class C(BaseModel): x: int = Field(1, alias='b')"),
    ("X = other(description='a')", "X = other(description='b')"),
    ("def f():\n  x: int\n  return x", "def f():\n  return x"),
    ("def f():\n  global x\n  x = 1", "def f():\n  x = 1"),
    ("def f():\n  x = 1\n  def g(): nonlocal x", "def f():\n  x = 1\n  def g(): pass"),
    ("def f():\n  a()\n  import b", "def f():\n  import b\n  a()"),
    ("def f():\n  import a", "def f():\n  import a as b"),
    ("def f():\n  from . import a", "def f():\n  from .. import a"),
    ("if a: b()", "if a: c()"),
    ("if a: b()\nelse: c()", "if a: c()\nelse: b()"),
    ("for a in b: c()", "for a in b: c()\nelse: d()"),
    ("for a in b:\n  c()\nd()", "for a in b:\n  c()\n  d()"),
    ("try: a()\nexcept A: b()", "try: a()\nexcept B: b()"),
    ("try: a()\nfinally: b()", "try: a()\nfinally: c()"),
    ("with a as b: c()", "with a: c()"),
    ("match a:\n  case 1: b()", "match a:\n  case 2: b()"),
    ("match a:\n  case [b]: c()", "match a:\n  case [b, *_]: c()"),
    ("del a", "del b"),
    ("assert a", "assert a, b"),
    ("while a: b()", "if a: b()"),
    ("def f(): yield a", "def f(): yield from a"),
    ("def f(): return a", "def f(): yield a"),
    ("def f(): raise a", "def f(): raise a from b"),
    ("a.b = 1", "a.b = 2"),
    ("a += 1", "a -= 1"),
    ("(a := 1)", "(a := 2)"),
    ("if TYPE_CHECKING:\n  a()\nelse:\n  b()", "if TYPE_CHECKING:\n  a()\nelse:\n  c()"),
    ("TYPE_CHECKING = a\nif TYPE_CHECKING: b()", "TYPE_CHECKING = a\nif TYPE_CHECKING: c()"),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_makes_a_difference_is_code(one: str, other: str) -> None:
    assert texts(one) != texts(other)


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("def f(): pass", "f"),
        ("async def f(): pass", "f"),
        ("class C: pass", "C"),
        ("X = 1", "X"),
        ("X: int = 1", "X"),
        ("A, (B, *C) = 1, (2, 3)", "A, B, C"),
        ("X += 1", "X"),
        ("X.y = 1", "module body"),
        ("if X: Y = 1", "module body"),
        ("configure()", "module body"),
    ],
)
def test_a_statement_is_named_by_what_it_defines(statement: str, name: str) -> None:
    found = module(statement)
    assert found.statement(len(found.body) - 1, "code").name == name
