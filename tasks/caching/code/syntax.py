"""A project module as the fingerprint sees it: its top-level statements, without what never affects a result."""

import ast
import functools
import hashlib
from collections.abc import Collection, Iterator, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path

from tasks.caching.code.effects import Effects
from tasks.caching.code.names import (
    Chain,
    Import,
    bound_names,
    defined_name,
    full_name,
    imports_in,
    imports_of,
    in_import_order,
    is_import,
    stand_ins,
    stars_in,
)
from tasks.caching.code.reader import Form, Reader
from tasks.caching.code.settings_syntax import declares_any, forward_names, is_type

#: The modules that define TYPE_CHECKING.
TYPING = frozenset({"typing", "typing_extensions"})

#: Metaclasses that do nothing special with subclasses.
METACLASSES = frozenset({"abc.ABCMeta", "enum.EnumMeta", "enum.EnumType"})


@dataclass(frozen=True)
class Statement:
    """A top-level statement in one of its forms.

    Attributes:
        name: what it defines, as messages about a change call it.
        text: the part of it that affects results.
        uses: the names that it reads, with the line of each.
        annotated: the names in its annotations of fields and its base classes, likewise.
        imports: what is imported anywhere in it, in its order.
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
        binders: the statements that bind a name, by the name.
        imports: what is imported at its top level, blocks such as `try` included.
        stars: the modules of its star imports.
        effective: the statements that have side effects.
        ordered: the statements that may depend on what ran before them.
        has_hooks: whether it may find classes that nothing names, because a base class or metaclass registers or
            enumerates its subclasses.
        package: the dotted name of the package that relative imports start from.
        keeps_typing: whether blocks under `if TYPE_CHECKING:` may run.
        replaced: the imported names and builtins that it gives another meaning; see `stand_ins`.
        forms: the statements that were read, by index and form.
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
    replaced: dict[str, str]
    forms: dict[tuple[int, Form], Statement] = field(default_factory=dict)
    _run_by: dict[int, tuple[str, ...]] = field(default_factory=dict)

    @functools.cached_property
    def aliases(self) -> dict[str, str]:
        """What the names stand for that it imports."""
        return {found.alias: found.origin for found in self.imports} | self.replaced

    @functools.cached_property
    def classes(self) -> tuple[int, ...]:
        """The statements that define classes."""
        return tuple(index for index, node in enumerate(self.body) if isinstance(node, ast.ClassDef))

    @functools.cached_property
    def runs(self) -> tuple[str, ...]:
        """The names that are imported at its top level, in any order; not all of them need be modules."""
        found = (name for imported in self.imports for name in (imported.module, imported.origin))
        return tuple(dict.fromkeys((*found, *self.stars)))

    def run_by(self, index: int) -> tuple[str, ...]:
        """The modules that an import may run; not all of the names need be modules."""
        if index not in self._run_by:
            node = self.body[index]
            parts = imports_in(node, self.package) if isinstance(node, ast.Import | ast.ImportFrom) else ()
            found = [name for part in parts for name in (part.module, part.origin)]
            self._run_by[index] = (*found, *stars_in([node], self.package))
        return self._run_by[index]

    @functools.cached_property
    def exported(self) -> tuple[str, ...] | None:
        """The names that its `__all__` lists; None if they are not all written out."""
        binders = self.binders.get("__all__", ())
        found: list[str] = []
        for index, node in enumerate(self.body):
            match node:
                case ast.Assign(value=value) | ast.AnnAssign(value=value) | ast.AugAssign(value=value) if (
                    index in binders and isinstance(value, ast.List | ast.Tuple)
                ):
                    texts = [part.value for part in value.elts if isinstance(part, ast.Constant)]
                    found += [text for text in texts if isinstance(text, str)]
                    is_listed = len(texts) == len(value.elts)
                case _:
                    is_listed = "__all__" not in names_in(node)
            if not is_listed:
                return None
        return tuple(found)

    def position(self, index: int) -> tuple[int, int]:
        """The position of a statement in the file; of an import that was split, that of its name."""
        node = self.body[index]
        place = node.names[0] if isinstance(node, ast.Import | ast.ImportFrom) else node
        return place.lineno, place.col_offset

    def is_import(self, index: int) -> bool:
        """Whether a statement is an import."""
        return is_import(self.body[index])

    def is_setting(self, index: int, classes: Mapping[str, Collection[str]]) -> bool:
        """Whether a statement can be read as a setting: one of these classes, or an alias of a type.

        Args:
            index: of the statement.
            classes: the annotated names that are no settings, by the class. One that looks like a setting is declared
                through an alias, of ClassVar for example: its class counts as code.
        """
        match self.body[index]:
            case ast.ClassDef(name=name) as node:
                return name in classes and not declares_any(node, classes[name], self.aliases)
            case ast.Assign(value=value):
                return is_type(value, self.aliases)
            case _:
                return False

    def registered(self, index: int) -> tuple[Import, ...]:
        """What is imported into a registry: a dictionary that is written out, from texts to imported names.

        Empty for any other statement, and where a name in it, or its own, is given another value as well.
        """
        match self.body[index]:
            case ast.Assign(value=ast.Dict() as entries) | ast.AnnAssign(value=ast.Dict() as entries):
                values = [value.id for value in entries.values if isinstance(value, ast.Name)]
                names = set(values)
                texts = [key for key in entries.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]
                found = tuple(imported for imported in self.imports if imported.alias in names)
                aliases = sorted(imported.alias for imported in found)  # each once, and nothing else
                bound = {*names, *bound_names(self.body[index])} & self.binders.keys()
                is_plain = len(texts) == len(entries.values) == len(values) and aliases == sorted(names)
                return found if is_plain and all(len(self.binders[name]) == 1 for name in bound) else ()
            case _:
                return ()

    def statement(self, index: int, form: Form) -> Statement:
        """A statement, read in a form."""
        if (index, form) not in self.forms:
            self.forms[index, form] = self._read(self.body[index], form)
        return self.forms[index, form]

    def _read(self, node: ast.stmt, form: Form) -> Statement:
        reader = Reader(self.aliases, self.package, keeps_typing=self.keeps_typing, form=form)
        if form == "setting" and isinstance(node, ast.Assign):
            reader.read_alias(node)
        else:
            reader.read(node)
            for chain in forward_names(node):
                reader.uses.setdefault(chain, node.lineno)
        return Statement(
            defined_name(node), " ".join(reader.text), reader.uses, reader.annotated, tuple(reader.imports)
        )


@functools.lru_cache(maxsize=1024)
def parse(path: Path, source: bytes, package: str) -> Module:
    """Parses a module.

    Args:
        path: the module's file.
        source: its content.
        package: the dotted name of the package that relative imports start from.

    Raises:
        SyntaxError: the source is not valid Python.
    """
    tree = ast.parse(source, filename=str(path))
    aliases = {found.alias: found.origin for found in imports_of(tree.body, package)}
    stars = tuple(stars_in(tree.body, package)) if b"*" in source else ()
    # A star import may rebind TYPE_CHECKING.
    keeps_typing = b"TYPE_CHECKING" in source and (bool(stars) or rebinds_type_checking(tree))
    body = in_import_order(Reader(aliases, package, keeps_typing=keeps_typing).cleaned(tree.body))
    imports = tuple(imports_of(body, package))
    binders: dict[str, list[int]] = {}
    for index, statement in enumerate(body):
        for name in bound_names(statement):
            binders.setdefault(name, []).append(index)
    replaced = stand_ins(aliases, body)
    effects = Effects(aliases | replaced, frozenset(binders))
    effective = frozenset(index for index, statement in enumerate(body) if effects.of(statement))
    shared = {index for found in binders.values() if len(found) > 1 for index in found}
    rebindable = {name for name, found in binders.items() if len(found) > 1 or may_change(body[found[0]])}
    dependent = {index for index, statement in enumerate(body) if depends_on_order(statement, rebindable)}
    # A star import may bind any name.
    order = range(len(body)) if stars else effective | shared | dependent
    has_hooks = (
        b"__init_subclass__" in source
        or b"__subclasses__" in source
        or (b"metaclass" in source and has_metaclass(tree, aliases))
    )
    return Module(
        path, body, binders, imports, stars, effective, frozenset(order), has_hooks, package, keeps_typing, replaced
    )


def names_in(node: ast.AST) -> set[str]:
    """The names in a syntax tree, and those that imports bind."""
    inner = list(ast.walk(node))
    names = {part.id for part in inner if isinstance(part, ast.Name)}
    return names | {part.asname or part.name for part in inner if isinstance(part, ast.alias)}


def short_hash(text: str) -> str:
    """A hash of 16 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def rebinds_type_checking(tree: ast.Module) -> bool:
    """Whether a module rebinds TYPE_CHECKING, so that blocks under it may run."""
    name = "TYPE_CHECKING"
    for node in ast.walk(tree):
        match node:
            case ast.arg(arg=found) | ast.Name(id=found, ctx=ast.Store()) if found == name:  # also in an expression
                return True
            case ast.stmt() if not is_import(node) and name in bound_names(node):
                return True
            case ast.ImportFrom(module=module, names=names, level=level) if level or module not in TYPING:
                if any(name in (alias.name, alias.asname) for alias in names):
                    return True
            case ast.Import(names=names):
                if any(alias.asname in (name, "typing") and alias.name not in TYPING for alias in names):
                    return True
    return False


def has_metaclass(tree: ast.Module, aliases: Mapping[str, str]) -> bool:
    """Whether a class has a metaclass of its own, which may register its subclasses."""
    found = (keyword for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for keyword in node.keywords)
    return any(
        keyword.arg in (None, "metaclass") and full_name(keyword.value, aliases) not in METACLASSES for keyword in found
    )


def depends_on_order(statement: ast.stmt, rebindable: Set[str]) -> bool:
    """Whether what a statement defines may depend on what ran before.

    Args:
        statement: at the top level.
        rebindable: names whose values may change while the module runs.
    """
    match statement:
        case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value):
            return not is_literal(value)
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return any(
                isinstance(node, ast.Name) and node.id in rebindable
                for expression in evaluated(statement)
                for node in ast.walk(expression)
            )
        case _:
            return False


def evaluated(statement: ast.stmt) -> Iterator[ast.expr]:
    """The expressions that run when a function or a class is defined."""
    match statement:
        case ast.FunctionDef(args=given) | ast.AsyncFunctionDef(args=given):
            yield from (*given.defaults, *filter(None, given.kw_defaults), *statement.decorator_list)
        case ast.ClassDef():
            yield from (*statement.bases, *(keyword.value for keyword in statement.keywords), *statement.decorator_list)
            for part in statement.body:
                yield from evaluated(part)
        case ast.AnnAssign(value=value):
            yield from () if value is None else (value,)
        case _:
            yield from (node for node in ast.walk(statement) if isinstance(node, ast.expr))


def may_change(statement: ast.stmt) -> bool:
    """Whether the value that a statement binds may change: unless it is a function, class, import or constant."""
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.Import() | ast.ImportFrom():
            return False
        case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value):
            return not is_constant(value)
        case _:
            return True


def is_constant(value: ast.expr) -> bool:
    """Whether an expression is a constant, or a tuple of constants."""
    match value:
        case ast.Constant():
            return True
        case ast.Tuple(elts=parts):
            return all(map(is_constant, parts))
        case ast.UnaryOp(operand=operand):
            return is_constant(operand)
        case ast.BinOp(left=left, right=right):
            return is_constant(left) and is_constant(right)
        case _:
            return False


def is_literal(value: ast.expr) -> bool:
    """Whether an expression is a literal, whose value depends on nothing else."""
    try:
        ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True
