"""A module of the project as the fingerprint sees it: top-level statements, without what never shapes a result."""

import ast
import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tasks.caching.effects import Effects
from tasks.caching.names import Chain, Import, bound_names, defined_name, imports_of, is_import, stars_in
from tasks.caching.reader import Form, Reader, is_type


@dataclass(frozen=True)
class Statement:
    """A top-level statement in one of its forms.

    Attributes:
        name: what it defines, for the words in which a change is told.
        text: what of it shapes a result.
        uses: the names that it reads, with the line of each.
        annotated: the names that its annotations of fields and its base classes read.
        imports: what is imported anywhere in it.
    """

    name: str
    text: str
    uses: Mapping[Chain, int]
    annotated: Mapping[Chain, int]
    imports: tuple[Import, ...]

    @property
    def digest(self) -> str:
        """A hash of its text."""
        return short_hash(self.text)


@dataclass
class Module:
    """A parsed module.

    Attributes:
        path: its file.
        body: its statements, without what never runs.
        binders: the statements that give a name its value, by the name.
        imports: what is imported at its top level, blocks such as `try` included.
        stars: modules from which all names are imported.
        effective: the statements that do more than to define something.
        ordered: the statements of which it may matter which ran before them.
        has_hooks: whether it may find classes that nothing names: their base class hears of them, or asks for them.
        package: the dotted name of the package that relative imports start from.
        keeps_typing: whether blocks under `if TYPE_CHECKING:` may run.
    """

    path: Path
    body: list[ast.stmt]
    binders: dict[str, list[int]]
    imports: tuple[Import, ...]
    stars: tuple[str, ...]
    effective: frozenset[int]
    ordered: frozenset[int]
    has_hooks: bool
    package: str
    keeps_typing: bool
    forms: dict[tuple[int, Form], Statement] = field(default_factory=dict)

    @functools.cached_property
    def aliases(self) -> dict[str, str]:
        """What names stand for that it imports."""
        return {found.alias: found.origin for found in self.imports}

    @functools.cached_property
    def classes(self) -> tuple[int, ...]:
        """The statements that define classes."""
        return tuple(index for index, node in enumerate(self.body) if isinstance(node, ast.ClassDef))

    def is_import(self, index: int) -> bool:
        """Whether a statement is an import."""
        return is_import(self.body[index])

    def is_setting(self, index: int, classes: frozenset[str]) -> bool:
        """Whether a statement can be looked at as a setting's: one of these classes, or another name of a type."""
        match self.body[index]:
            case ast.ClassDef(name=name):
                return name in classes
            case ast.Assign(value=value):
                return is_type(value, self.aliases)
            case _:
                return False

    def statement(self, index: int, form: Form) -> Statement:
        """A statement in a form."""
        if (index, form) not in self.forms:
            self.forms[index, form] = self._read(self.body[index], form)
        return self.forms[index, form]

    def _read(self, node: ast.stmt, form: Form) -> Statement:
        reader = Reader(self.aliases, self.package, keeps_typing=self.keeps_typing, form=form)
        if form == "setting" and isinstance(node, ast.Assign):
            reader.read_alias(node)
        else:
            reader.read(node)
        return Statement(
            defined_name(node), " ".join(reader.text), reader.uses, reader.annotated, tuple(reader.imports)
        )


@functools.lru_cache(maxsize=1024)
def parse(path: Path, source: bytes, package: str) -> Module:
    """A module from its source.

    Args:
        path: the module's file.
        source: its content.
        package: the dotted name of the package that relative imports start from.

    Raises:
        SyntaxError: it is no Python.
    """
    tree = ast.parse(source, filename=str(path))
    aliases = {found.alias: found.origin for found in imports_of(tree.body, package)}
    keeps_typing = b"TYPE_CHECKING" in source and rebinds_type_checking(tree)
    body = Reader(aliases, package, keeps_typing=keeps_typing).cleaned(tree.body)
    imports = tuple(imports_of(body, package))
    binders: dict[str, list[int]] = {}
    for index, statement in enumerate(body):
        for name in bound_names(statement):
            binders.setdefault(name, []).append(index)
    effects = Effects(aliases, frozenset(binders))
    effective = frozenset(index for index, statement in enumerate(body) if effects.of(statement))
    mixed = {index for name in binders for index in binders[name] if not all(is_import(body[i]) for i in binders[name])}
    shared = {index for index in mixed if any(index in found and len(found) > 1 for found in binders.values())}
    made = {index for index, statement in enumerate(body) if is_made(statement)}
    stars = tuple(stars_in(body, package)) if b"*" in source else ()
    has_hooks = b"__init_subclass__" in source or b"__subclasses__" in source
    return Module(
        path, body, binders, imports, stars, effective, effective | shared | made, has_hooks, package, keeps_typing
    )


def short_hash(text: str) -> str:
    """A hash of 16 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def rebinds_type_checking(tree: ast.Module) -> bool:
    """Whether a module gives TYPE_CHECKING a value of its own, so that what stands under it may run."""
    stored = (node for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    return any(node.id == "TYPE_CHECKING" for node in stored)


def is_made(statement: ast.stmt) -> bool:
    """Whether a statement gives a name a value that is not written out, so that it may depend on what ran before."""
    match statement:
        case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value):
            return not is_literal(value)
        case _:
            return False


def is_literal(value: ast.expr) -> bool:
    """Whether an expression is written out, so that nothing else shapes its value."""
    try:
        ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True
