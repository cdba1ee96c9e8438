"""The names in a module: which names its statements and imports bind, and what a dotted name stands for."""

import ast
import builtins
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

#: Names of the parts of a fingerprint for imports, and for top-level statements that define nothing.
IMPORTS, MODULE_BODY = "imports", "module body"

#: Name of the part for the order of statements whose order may matter.
ORDER = "order of statements"

#: Stands in a dotted name for an entry that is read by its key: `LOSSES[name].LABEL` is ("LOSSES", ENTRY, "LABEL").
ENTRY = "[]"

#: Stands in a dotted name for an unknown object: `make().__globals__` is (UNKNOWN, "__globals__"), as is its text.
UNKNOWN = "?"

#: Stands for the class of an object, if more is done with it than to read its name or to compare it.
CLASS = "__class__"

#: A dotted name as the code has it, for example ("torch", "nn", "Linear").
Chain = tuple[str, ...]

FIELD = "pydantic.Field"

#: The decorator that declares a stage.
DECLARATION = "tasks.caching.stage.stage"


@dataclass(frozen=True)
class Import:
    """One name that an import binds.

    Attributes:
        alias: the name that is bound.
        module: full name of the imported module.
        member: the name that is imported from the module, which may be a module too; None for the module itself.
        binds: the module that the alias stands for: after `import a.b`, that is `a`.
    """

    alias: str
    module: str
    member: str | None
    binds: str

    @property
    def origin(self) -> str:
        """The full name of what the alias stands for."""
        return f"{self.module}.{self.member}" if self.member else self.binds


def at_top_level(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run when a module is imported, including those in blocks, but not those in classes."""
    for statement in body:
        yield statement
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for block in ("body", "orelse", "finalbody"):
                yield from at_top_level(getattr(statement, block, ()))
            for part in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
                yield from at_top_level(part.body)


def imports_of(body: Iterable[ast.stmt], package: str) -> Iterator[Import]:
    """What a module imports when it is imported."""
    for statement in at_top_level(body):
        if isinstance(statement, ast.Import | ast.ImportFrom):
            yield from imports_in(statement, package)


def imports_in(statement: ast.Import | ast.ImportFrom, package: str) -> Iterator[Import]:
    """The names that an import binds, except those of a star import."""
    origin = "" if isinstance(statement, ast.Import) else absolute_name(statement, package)
    for alias in statement.names:
        if isinstance(statement, ast.Import):
            first = alias.name.partition(".")[0]
            yield Import(alias.asname or first, alias.name, None, alias.name if alias.asname else first)
        elif alias.name != "*":
            yield Import(alias.asname or alias.name, origin, alias.name, origin)


def stars_in(body: Iterable[ast.stmt], package: str) -> Iterator[str]:
    """The modules of star imports, which are allowed at the top level only."""
    for statement in at_top_level(body):
        if isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*":
            yield absolute_name(statement, package)


def absolute_name(node: ast.ImportFrom, package: str) -> str:
    """The full name of the module of a `from` import: each leading dot after the first goes up one package."""
    if not node.level:
        return node.module or ""
    parts = package.split(".") if package else []
    kept = parts[: len(parts) - (node.level - 1)]
    return ".".join([*kept, *((node.module,) if node.module else ())])


def bound_names(statement: ast.stmt, *, by_imports: bool = True) -> list[str]:
    """The names that a top-level statement binds, including those inside blocks; also by imports, if asked for."""
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
    found = []
    parts: list[ast.AST] = list(statement.targets) if isinstance(statement, ast.Assign) else [statement]
    for node in (inner for part in parts for inner in ast.walk(part)):
        match node:
            case ast.Name(id=name, ctx=ast.Store()):
                found.append(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.append(name)
            case ast.Import(names=names) | ast.ImportFrom(names=names) if by_imports:
                found += [alias.asname or alias.name.partition(".")[0] for alias in names]
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                found.append(name)
            case ast.MatchMapping(rest=str(name)):
                found.append(name)
    return list(dict.fromkeys(found))


def stand_ins(aliases: Mapping[str, str], body: Iterable[ast.stmt]) -> dict[str, str]:
    """The imported names and the builtins that a module gives another meaning: what each stands for is not known.

    Args:
        aliases: what the names stand for that the module imports.
        body: of the module.
    """
    bound = {name for statement in body for name in bound_names(statement, by_imports=False)}
    return {name: f"{UNKNOWN}.{name}" for name in bound if name in aliases or hasattr(builtins, name)}


def defined_name(statement: ast.stmt) -> str:
    """What a top-level statement defines, as messages about a change call it."""
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return name
        case ast.Assign() | ast.AnnAssign(target=ast.Name()) if names := bound_names(statement):
            return ", ".join(names)
        case ast.AugAssign(target=ast.Name(id=name)):
            return name
        case ast.Import() | ast.ImportFrom():
            return IMPORTS
        case _:
            return MODULE_BODY


def defined_words(statement: ast.stmt) -> str:
    """A text for the order of statements: the kind of a statement and the names it binds; a whole import."""
    if is_import(statement):
        return ast.dump(statement)
    return " ".join([type(statement).__name__, *bound_names(statement)])


def dotted(node: ast.expr) -> Chain:
    """The parts of a dotted name; empty if the expression is not one."""
    match node:
        case ast.Name(id=name):
            return (name,)
        case ast.Attribute(value=value, attr=name) if chain := dotted(value):
            return (*chain, name)
        case _:
            return ()


def full_name(node: ast.expr, aliases: Mapping[str, str]) -> str:
    """The full name that a dotted name stands for, given its module's imports; empty if it is not a dotted name."""
    if not (chain := dotted(node)):
        return ""
    head, *rest = chain
    origin = aliases.get(head) or (f"builtins.{head}" if hasattr(builtins, head) else head)
    return ".".join([origin, *rest])


def decorator_name(node: ast.expr, aliases: Mapping[str, str]) -> str:
    """The full name of a decorator, whether or not it is called."""
    return full_name(node.func if isinstance(node, ast.Call) else node, aliases)


def is_import(statement: ast.stmt) -> bool:
    """Whether a statement is an import."""
    return isinstance(statement, ast.Import | ast.ImportFrom)


def split_imports(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """A block whose imports are split so that each binds one name."""
    for statement in body:
        match statement:
            case ast.Import(names=names):
                yield from (ast.copy_location(ast.Import([alias]), statement) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                yield from (ast.copy_location(ast.ImportFrom(module, [alias], level), statement) for alias in names)
            case _:
                yield statement


def in_import_order(body: Iterable[ast.stmt]) -> list[ast.stmt]:
    """A block whose adjacent imports are sorted, unless they bind a name twice."""
    ordered: list[ast.stmt] = []
    for are_imports, run in itertools.groupby(body, key=is_import):
        statements = list(run)
        names = [name for statement in statements for name in bound_names(statement)] if are_imports else []
        ordered += sorted(statements, key=ast.dump) if are_imports and len(set(names)) == len(names) else statements
    return ordered
