"""The fingerprint of a stage's code: what it would take to notice that the code changed.

A stage is fingerprinted by the syntax trees of its module and of every project module that it imports, at any
depth. Comments, docstrings and formatting are not part of a syntax tree, so that editing them changes nothing.
The fingerprint has one entry for each top-level definition, so that a change can be named.

All that lies in the project's folder is its code, whatever the package. Only imports written as such are seen, at any
place in a module; `importlib.import_module` is not. Imports under `if TYPE_CHECKING:` never run and do not count.
"""

import ast
import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tasks.caching.sources import INSTALLED, PROJECT, source_of

#: Stand for top-level statements that import, for those that define nothing, and for the order of those that have one.
IMPORTS, MODULE_BODY, ORDER = "imports", "module body", "order of statements"

#: The packages whose code belongs to the project where it is installed among others.
PACKAGES = ("flows", "tasks")

#: Reads a file of the project.
Read = Callable[[Path], bytes]


def fingerprint(module: str, project: Path = PROJECT, read: Read = source_of) -> dict[str, str]:
    """Hashes of all project code that running `module` can reach.

    Args:
        module: dotted name, for example `tasks.train`.
        project: the folder that holds the project's packages.
        read: gives a file's bytes: those that this process runs, unless others are asked for.

    Returns:
        A hash of 16 hexadecimal digits by place, for example `tasks/learning/loop.py: fit`.

    Raises:
        ValueError: the module is not the project's, so that its code could not be known.
    """
    code = reachable_code(module, project, read)
    if not code:
        raise ValueError(f"{module} is no module of this project: a stage must lie in {project}")
    return {
        f"{path.relative_to(project).as_posix()}: {name}": digest
        for path, definitions in sorted(code.items())
        for name, digest in definitions.items()
    }


def reachable_code(module: str, project: Path, read: Read) -> dict[Path, dict[str, str]]:
    """The definitions in the files of `module` and of every project module that it imports, transitively."""
    found: dict[Path, dict[str, str]] = {}
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for path in module_files(name, project):
            if path not in found:
                found[path], imports = read_module(path, read(path))
                waiting += [absolute_name(imported, path, project) for imported in imports]
    return found


def module_files(name: str, project: Path) -> Iterator[Path]:
    """The files that importing `name` runs: its packages' `__init__.py` and its own, if it is the project's."""
    parts = name.split(".")
    if project.name in INSTALLED and parts[0] not in PACKAGES:
        return
    for depth in range(1, len(parts) + 1):
        base = project.joinpath(*parts[:depth])
        candidates = (base / "__init__.py", base.with_suffix(".py"))
        yield from (path for path in candidates if path.is_file())


def absolute_name(name: str, importer: Path, project: Path) -> str:
    """The full name of an import that may be relative: each leading dot goes up one package."""
    bare = name.lstrip(".")
    if bare == name:
        return name
    package = importer.relative_to(project).parts[: -(len(name) - len(bare))]
    return ".".join([*package, bare])


@functools.lru_cache(maxsize=1024)
def read_module(path: Path, source: bytes) -> tuple[dict[str, str], tuple[str, ...]]:
    """The definitions of a module, each with its hash, and the names that it imports.

    Args:
        path: the module's file.
        source: its content.
    """
    code = RuntimeCode()
    tree = code.visit(ast.parse(source, filename=str(path)))
    dumps = [(defined_name(statement), ast.dump(statement)) for statement in tree.body]
    names = [name for name, _ in dumps]
    definitions = {}
    for name in dict.fromkeys(names):
        # What is defined once is its own statement, and imports are theirs. What is defined several times, or runs
        # without defining anything, also depends on what stands between: then it is the whole module, in its order.
        is_plain = name == IMPORTS or (names.count(name) == 1 and name != MODULE_BODY)
        code_of_name = "\n".join(dump for other, dump in dumps if not is_plain or other == name)
        definitions[name] = short_hash(code_of_name)
    if len(ordered := order_of(tree.body)) > 1:
        definitions[ORDER] = short_hash("\n".join(ordered))
    return definitions, tuple(code.imports)


def short_hash(text: str) -> str:
    """A hash of 16 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def order_of(body: Sequence[ast.stmt]) -> list[str]:
    """The top-level statements of which it may matter which is run first, by what they define.

    It does not matter of functions and classes without decorators, of plain constants, and of imports whose names
    nothing else in the module has. Two draws from one generator, or two functions in a registry, are others when they
    are swapped.
    """
    imported = {name for statement in body if is_import(statement) for name in bound_names(statement)}
    defined = {name for statement in body if not is_import(statement) for name in bound_names(statement)}
    hidden = imported & defined
    return [
        f"{type(statement).__name__} {' '.join(bound_names(statement))}"
        for statement in body
        if has_effects(statement) or not hidden.isdisjoint(bound_names(statement))
    ]


def has_effects(statement: ast.stmt) -> bool:
    """Whether a top-level statement may do more, or depend on more, than giving a name a value that is written out."""
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return bool(statement.decorator_list)
        case ast.Import() | ast.ImportFrom():
            return False
        case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value):
            return not is_literal(value)
        case _:
            return True


def is_import(statement: ast.stmt) -> bool:
    """Whether a statement is an import."""
    return isinstance(statement, ast.Import | ast.ImportFrom)


def is_literal(value: ast.expr) -> bool:
    """Whether an expression is written out, so that nothing else shapes its value."""
    try:
        ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


def bound_names(statement: ast.stmt) -> list[str]:
    """The names that a top-level statement gives a value, but for those inside of blocks such as `if`."""
    match statement:
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return [alias.asname or alias.name.partition(".")[0] for alias in names]
        case ast.Assign(targets=targets):
            return [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
        case _:
            return [defined_name(statement)]


class RuntimeCode(ast.NodeTransformer):
    """Drops what never runs, and notes what the rest imports.

    Texts standing alone, docstrings among them, never run, nor do `if TYPE_CHECKING:` blocks.

    Attributes:
        imports: every name that is imported anywhere; relative ones keep their leading dots.
    """

    def __init__(self) -> None:
        self.imports: list[str] = []

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """None for a text that stands alone."""
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt] | None:
        """The `else` branch in place of an `if TYPE_CHECKING:`."""
        is_typing = ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        if not is_typing:
            return self.generic_visit(node)
        branch = ast.Module(node.orelse, [])
        self.generic_visit(branch)
        return branch.body

    def visit_Import(self, node: ast.Import) -> ast.AST:
        """Notes the modules."""
        self.imports += [alias.name for alias in node.names]
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        """Notes the module, and each name in it that may be a module too; for any other no such file exists."""
        origin = "." * node.level + (node.module or "")
        dot = "" if origin.endswith(".") else "."
        self.imports += [origin, *(f"{origin}{dot}{alias.name}" for alias in node.names)]
        return node


def defined_name(statement: ast.stmt) -> str:
    """What a top-level statement defines, for the words in which a change is told."""
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return name
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name
        case ast.Import() | ast.ImportFrom():
            return IMPORTS
        case _:
            return MODULE_BODY
