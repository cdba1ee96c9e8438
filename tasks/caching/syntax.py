"""A module of the project as the fingerprint sees it: top-level statements, without what never shapes a result.

Comments and formatting are not part of a syntax tree. Besides these, what is dropped: docstrings, `pass`, the order of
neighbouring imports, annotations of functions and variables, blocks under `if TYPE_CHECKING:`, and of pydantic's fields
the texts and bounds, which describe and refuse but make nothing. Annotations of fields of classes stay.
"""

import ast
import builtins
import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

#: Stand for top-level statements that import, and for those that define nothing.
IMPORTS, MODULE_BODY = "imports", "module body"

#: A dotted name as code spells it, such as ("torch", "nn", "Linear").
Chain = tuple[str, ...]

#: How a statement is looked at: as it is, or as a setting whose values stand in the key by themselves.
Form = Literal["code", "setting"]

#: Arguments of pydantic's Field that make nothing of a value.
DESCRIBING = frozenset(
    {"description", "title", "examples", "ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length", "pattern"}
)
FIELD = "pydantic.Field"

#: What declares a stage.
DECLARATION = "tasks.caching.stage.stage"

#: Decorators that only wrap what they stand on: they leave no trace elsewhere, and read no annotation.
QUIET_DECORATORS = frozenset(
    {
        DECLARATION,
        "abc.abstractmethod",
        "builtins.classmethod",
        "builtins.property",
        "builtins.staticmethod",
        "contextlib.asynccontextmanager",
        "contextlib.contextmanager",
        "functools.cache",
        "functools.cached_property",
        "functools.lru_cache",
        "functools.total_ordering",
        "functools.wraps",
        "pydantic.field_serializer",
        "pydantic.field_validator",
        "pydantic.model_serializer",
        "pydantic.model_validator",
        "typing.final",
        "typing.overload",
        "typing.override",
        "typing.runtime_checkable",
    }
)
#: Likewise, but of classes, and with an eye on their annotations.
DATACLASSES = frozenset({"dataclasses.dataclass", "pydantic.dataclasses.dataclass"})

#: What makes a class of annotated names that takes its values as they are.
HOLDERS = frozenset({"dataclasses.dataclass", "typing.NamedTuple", "typing.Protocol"})

#: What may only refuse a value or change it before it stands in the key.
VALIDATORS = frozenset({"pydantic.field_validator", "pydantic.model_validator"})

#: A method of pydantic's that shapes a description of the model, and nothing that is computed.
DESCRIBING_METHODS = frozenset({"__get_pydantic_json_schema__"})

#: Calls that give a value and do nothing else, as far as their arguments do nothing.
QUIET_CALLS = frozenset(
    {
        *(f"builtins.{name}" for name in ("abs", "bool", "bytes", "float", "int", "len", "object", "range", "str")),
        "collections.namedtuple",
        "contextvars.ContextVar",
        "dataclasses.field",
        "datetime.timedelta",
        "functools.partial",
        "logging.getLogger",
        "pathlib.Path",
        "pydantic.AllowInfNan",
        "pydantic.ConfigDict",
        FIELD,
        "re.compile",
        "typing.NewType",
        "typing.ParamSpec",
        "typing.TypeVar",
    }
)
#: Likewise, but they take what they are given apart, which may be used up by it.
QUIET_IF_WRITTEN_OUT = frozenset(
    f"builtins.{name}" for name in ("dict", "frozenset", "list", "max", "min", "set", "tuple")
)

CONTAINERS = (ast.Tuple, ast.List, ast.Set, ast.Dict, ast.Constant)


@dataclass(frozen=True)
class Import:
    """One name that an import binds.

    Attributes:
        alias: the name.
        module: what is imported, in full.
        member: the name that is taken from the module, which may be a module too; None for the module itself.
        binds: what the alias stands for: of `import a.b`, that is `a`.
    """

    alias: str
    module: str
    member: str | None
    binds: str

    @property
    def origin(self) -> str:
        """What the alias stands for, in full."""
        return f"{self.module}.{self.member}" if self.member else self.binds


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


def at_top_level(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run when a module is imported, those in blocks included; classes are not entered."""
    for statement in body:
        yield statement
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for block in ("body", "orelse", "finalbody"):
                yield from at_top_level(getattr(statement, block, ()))
            for part in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
                yield from at_top_level(part.body)


def imports_of(body: Iterable[ast.stmt], package: str) -> Iterator[Import]:
    """What is imported when a module is."""
    for statement in at_top_level(body):
        if isinstance(statement, ast.Import | ast.ImportFrom):
            yield from imports_in(statement, package)


def imports_in(statement: ast.Import | ast.ImportFrom, package: str) -> Iterator[Import]:
    """The names that an import binds, but for those of a star."""
    origin = "" if isinstance(statement, ast.Import) else absolute_name(statement, package)
    for alias in statement.names:
        if isinstance(statement, ast.Import):
            first = alias.name.partition(".")[0]
            yield Import(alias.asname or first, alias.name, None, alias.name if alias.asname else first)
        elif alias.name != "*":
            yield Import(alias.asname or alias.name, origin, alias.name, origin)


def stars_in(body: Iterable[ast.stmt], package: str) -> Iterator[str]:
    """The modules from which every name is imported; a star stands at the top level alone."""
    for statement in at_top_level(body):
        if isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*":
            yield absolute_name(statement, package)


def absolute_name(node: ast.ImportFrom, package: str) -> str:
    """The full name of the module of a `from` import: each leading dot but the first goes up one package."""
    if not node.level:
        return node.module or ""
    parts = package.split(".") if package else []
    kept = parts[: len(parts) - (node.level - 1)]
    return ".".join([*kept, *((node.module,) if node.module else ())])


def bound_names(statement: ast.stmt) -> list[str]:
    """The names that a top-level statement gives a value, those inside of blocks included."""
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
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                found += [alias.asname or alias.name.partition(".")[0] for alias in names]
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                found.append(name)
    return list(dict.fromkeys(found))


def defined_name(statement: ast.stmt) -> str:
    """What a top-level statement defines, for the words in which a change is told."""
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
    """What a statement is and which names it gives a value, for the order of statements."""
    return " ".join([type(statement).__name__, *bound_names(statement)])


def dotted(node: ast.expr) -> Chain:
    """An expression as a dotted name; empty if it is none."""
    match node:
        case ast.Name(id=name):
            return (name,)
        case ast.Attribute(value=value, attr=name) if chain := dotted(value):
            return (*chain, name)
        case _:
            return ()


def full_name(node: ast.expr, aliases: Mapping[str, str]) -> str:
    """What a dotted name stands for, in full, by the imports of its module; empty if the expression is none."""
    if not (chain := dotted(node)):
        return ""
    head, *rest = chain
    origin = aliases.get(head) or (f"builtins.{head}" if hasattr(builtins, head) else head)
    return ".".join([origin, *rest])


def decorator_name(node: ast.expr, aliases: Mapping[str, str]) -> str:
    """What a decorator is, whether or not it is called."""
    return full_name(node.func if isinstance(node, ast.Call) else node, aliases)


def is_quiet_decorator(node: ast.expr, aliases: Mapping[str, str]) -> bool:
    """Whether a decorator of a function leaves no trace elsewhere and reads no annotation."""
    name = decorator_name(node, aliases)
    return name in QUIET_DECORATORS or name.rpartition(".")[2] in ("setter", "deleter")


def is_idle(statement: ast.stmt) -> bool:
    """Whether a statement does nothing: `pass`, and a constant that stands alone, as a docstring does."""
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


def is_import(statement: ast.stmt) -> bool:
    """Whether a statement is an import."""
    return isinstance(statement, ast.Import | ast.ImportFrom)


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


def in_import_order(body: Iterable[ast.stmt]) -> list[ast.stmt]:
    """A block whose neighbouring imports are one a name, and sorted."""
    ordered: list[ast.stmt] = []
    run: list[ast.stmt] = []
    for statement in body:
        if isinstance(statement, ast.Import):
            run += [ast.copy_location(ast.Import([alias]), statement) for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom):
            single = [ast.ImportFrom(statement.module, [alias], statement.level) for alias in statement.names]
            run += [ast.copy_location(node, statement) for node in single]
        else:
            ordered += [*sorted(run, key=ast.dump), statement]
            run = []
    return [*ordered, *sorted(run, key=ast.dump)]


class Reader:
    """Reads a statement once: what of it shapes a result, as text, and the names that this depends on.

    Args:
        aliases: what names stand for that the module imports.
        package: the dotted name of the package that relative imports start from.
        keeps_typing: whether blocks under `if TYPE_CHECKING:` may run.
        form: of the statement.
    """

    def __init__(self, aliases: Mapping[str, str], package: str, *, keeps_typing: bool, form: Form = "code") -> None:
        self.aliases, self.package, self.keeps_typing, self.form = aliases, package, keeps_typing, form
        self.text: list[str] = []
        self.uses: dict[Chain, int] = {}
        self.annotated: dict[Chain, int] = {}
        self.imports: list[Import] = []
        self._found = self.uses
        self._in_class = self._only_holds = False

    def read(self, node: ast.AST) -> None:
        """Reads a syntax node and all that is in it."""
        if (special := SPECIAL.get(type(node))) is not None:
            special(self, node)
            return
        self.text.append(type(node).__name__)
        for name in node._fields:
            self._read_value(getattr(node, name, None))

    def _read_value(self, value: object) -> None:
        """Reads what a field of a node holds."""
        if isinstance(value, ast.AST):
            self.read(value)
        elif not isinstance(value, list):
            self.text.append(repr(value))
        elif value and isinstance(value[0], ast.stmt):
            self.read_block(value)
        else:
            self.text.append("[")
            for part in value:
                self._read_value(part)
            self.text.append("]")

    def read_block(self, body: Iterable[ast.stmt]) -> None:
        """Reads statements that run one after the other."""
        self.text.append("{")
        for statement in self.cleaned(body):
            self.read(statement)
        self.text.append("}")

    def cleaned(self, body: Iterable[ast.stmt]) -> list[ast.stmt]:
        """A block without what never runs, each run of imports in one order."""
        return in_import_order(self._running(body))

    def _running(self, body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
        for statement in body:
            if isinstance(statement, ast.If) and self._is_typing(statement.test):
                yield from self._running(statement.orelse)
            elif not is_idle(statement):
                yield statement

    def _is_typing(self, test: ast.expr) -> bool:
        return not self.keeps_typing and dotted(test) in (("TYPE_CHECKING",), ("typing", "TYPE_CHECKING"))

    # --- What is read in a way of its own

    def read_name(self, node: ast.Name) -> None:
        """A name."""
        self.text.append(f"={node.id}")
        self._found.setdefault((node.id,), node.lineno)

    def read_attribute(self, node: ast.Attribute) -> None:
        """A dotted name, or an attribute of something else."""
        if chain := dotted(node):
            self.text.append(f"={'.'.join(chain)}")
            self._found.setdefault(chain, node.lineno)
        else:
            self.text.append(f".{node.attr}")
            self.read(node.value)

    def read_constant(self, node: ast.Constant) -> None:
        """A constant, with or without a `u` before a text."""
        self.text.append(f"const {node.value!r}")

    def read_context(self, node: ast.AST) -> None:
        """Whether a name is read or written, which shows from where it stands."""

    def read_global(self, node: ast.Global) -> None:
        """Names of the module that a function gives other values."""
        self.text.append(f"global {node.names}")
        for name in node.names:
            self._found.setdefault((name,), node.lineno)

    def read_import(self, node: ast.Import | ast.ImportFrom) -> None:
        """An import inside of a statement."""
        self.text.append(ast.dump(node))
        self.imports += imports_in(node, self.package)

    def read_call(self, node: ast.Call) -> None:
        """A call; one of pydantic's Field, without texts and bounds."""
        is_field = full_name(node.func, self.aliases) == FIELD
        self.text.append("Call")
        self.read(node.func)
        self._read_value(node.args)
        self._read_value([part for part in node.keywords if not (is_field and part.arg in DESCRIBING)])

    def read_subscript(self, node: ast.Subscript) -> None:
        """What stands in brackets; of a type whose values stand in the key, without what refuses values."""
        if self._found is self.annotated and bare_type(node, self.aliases) is not node:
            self.read(bare_type(node, self.aliases))
            return
        self.text.append("Subscript")
        self.read(node.value)
        self.read(node.slice)

    def read_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """A function, without annotations unless a decorator may read them."""
        self.text.append(f"{type(node).__name__} {node.name}")
        for decorator in node.decorator_list:
            self._read_decorator(decorator)
        quiet = all(is_quiet_decorator(decorator, self.aliases) for decorator in node.decorator_list)
        given = node.args
        # Where one kind of parameters ends and the next begins, and which of them have defaults.
        self.text.append(f"({len(given.posonlyargs)} {len(given.args)} {given.vararg is None} {given.kwarg is None}")
        starred = filter(None, (given.vararg, given.kwarg))
        for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs, *starred):
            self.text.append(argument.arg)
            if argument.annotation is not None and not quiet:
                self.read(argument.annotation)
        self._read_value(given.defaults)
        self._read_value(given.kw_defaults)
        if node.returns is not None and not quiet:
            self.read(node.returns)
        outside, self._in_class = self._in_class, False
        self.read_block(node.body)
        self._in_class = outside

    def _read_decorator(self, node: ast.expr) -> None:
        """A decorator; of one that declares a stage, the class that it names first is that of its settings."""
        match node:
            case ast.Call(func=function, args=[view, *rest]) if full_name(function, self.aliases) == DECLARATION:
                self.text.append("stage")
                self._read_setting(view)
                self._read_value([*rest, *node.keywords])
            case _:
                self.text.append("@")
                self.read(node)

    def read_class(self, node: ast.ClassDef) -> None:
        """A class; one of settings, without its fields and validators.

        The key has the values as they are after all of that, so that nothing of it shapes a result by itself. But what
        is private is not in the key, and a validator may set it.
        """
        self.text.append(f"class {node.name}")
        for base in node.bases:
            self._read_type(base)
        self._read_value([*node.keywords, *node.decorator_list])
        body = self.cleaned(node.body)
        if self.form == "setting" and not any(map(is_private, body)):
            for part in body:
                if isinstance(part, ast.AnnAssign) and is_about_values(part, self.aliases):
                    self._read_quietly(part.annotation)
            body = [part for part in body if not is_about_values(part, self.aliases)]
        outside = self._in_class, self._only_holds
        self._in_class, self._only_holds = True, only_holds(node, self.aliases)
        self.read_block(body)
        self._in_class, self._only_holds = outside

    def read_annotated(self, node: ast.AnnAssign) -> None:
        """An assignment with an annotation, which counts in a class alone: there it may be that of a field."""
        if self._in_class:
            self.text.append("field")
            self._read_type(node.annotation)
        else:
            # One without a value makes the name a local one.
            self.text.append("Assign" if node.value is not None else "local")
        self._read_value([node.target])
        if node.value is not None:
            self.read(node.value)
        if not self._in_class:
            self.text.append(repr(None))  # as an assignment without an annotation has it

    def _read_type(self, node: ast.expr) -> None:
        """A type: of a field, or a base class. A class that only holds what it is given makes no value of a type."""
        if self.form == "setting" or self._only_holds:
            self._read_setting(node)
        else:
            self.read(annotation_of(node))

    def _read_setting(self, node: ast.expr) -> None:
        """A type whose values stand in the key."""
        self._found = self.annotated
        self.read(annotation_of(node))
        self._found = self.uses

    def _read_quietly(self, node: ast.expr) -> None:
        """The names in the type of a field that does not count itself."""
        text, self.text = self.text, []
        self._read_setting(node)
        self.text = text

    def read_alias(self, node: ast.Assign) -> None:
        """Another name of a type whose values stand in the key: it counts for nothing, but it leads to the type."""
        self._read_quietly(node.value)


#: What reads nodes of a kind that are not read field by field.
SPECIAL: dict[type[ast.AST], Callable[[Reader, Any], None]] = {
    ast.AnnAssign: Reader.read_annotated,
    ast.AsyncFunctionDef: Reader.read_function,
    ast.Attribute: Reader.read_attribute,
    ast.Call: Reader.read_call,
    ast.ClassDef: Reader.read_class,
    ast.Constant: Reader.read_constant,
    ast.Del: Reader.read_context,
    ast.FunctionDef: Reader.read_function,
    ast.Global: Reader.read_global,
    ast.Import: Reader.read_import,
    ast.ImportFrom: Reader.read_import,
    ast.Load: Reader.read_context,
    ast.Name: Reader.read_name,
    ast.Store: Reader.read_context,
    ast.Subscript: Reader.read_subscript,
}


def only_holds(node: ast.ClassDef, aliases: Mapping[str, str]) -> bool:
    """Whether a class takes the values of its annotated names as they are, as a dataclass does."""
    names = [decorator_name(decorator, aliases) for decorator in node.decorator_list]
    names += [full_name(base, aliases) for base in node.bases]
    return bool(names) and all(name in HOLDERS for name in names)


def annotation_of(node: ast.expr) -> ast.expr:
    """An annotation; that in a text, if it is one."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        try:
            return ast.parse(node.value, mode="eval").body
        except SyntaxError:
            return node
    return node


def is_type(node: ast.expr, aliases: Mapping[str, str]) -> bool:
    """Whether an expression can be a type, such as another name of a class."""
    match bare_type(node, aliases):
        case ast.Name() | ast.Attribute() | ast.Constant(value=None):
            return True
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return is_type(left, aliases) and is_type(right, aliases)
        case _:
            return False


def bare_type(node: ast.expr, aliases: Mapping[str, str]) -> ast.expr:
    """A type without what Annotated says of its values."""
    match node:
        case ast.Subscript(value=base, slice=ast.Tuple(elts=[kind, *_])) if (
            full_name(base, aliases) == "typing.Annotated"
        ):
            return bare_type(kind, aliases)
        case _:
            return node


def is_private(node: ast.stmt) -> bool:
    """Whether a statement of a class annotates a private name."""
    return isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id.startswith("_")


def is_about_values(node: ast.stmt, aliases: Mapping[str, str]) -> bool:
    """Whether a statement in a class of settings only says which values there are."""
    match node:
        case ast.AnnAssign():
            return not (is_private(node) or is_class_variable(node, aliases))
        case ast.FunctionDef(name=name, decorator_list=decorators):
            return name in DESCRIBING_METHODS or any(
                decorator_name(decorator, aliases) in VALIDATORS for decorator in decorators
            )
        case _:
            return False


def is_class_variable(node: ast.AnnAssign, aliases: Mapping[str, str]) -> bool:
    """Whether an annotated name of a class is no field."""
    kind = node.annotation.value if isinstance(node.annotation, ast.Subscript) else node.annotation
    return full_name(kind, aliases) == "typing.ClassVar"


class Effects:
    """Tells statements that do more than to define something: they count wherever their module is imported.

    Args:
        aliases: what names stand for that the module imports.
        bound: all names that the module gives a value.
    """

    def __init__(self, aliases: Mapping[str, str], bound: frozenset[str]) -> None:
        self.aliases, self.bound = aliases, bound

    def of(self, statement: ast.stmt) -> bool:
        """Whether a statement has effects."""
        match statement:
            case ast.FunctionDef(decorator_list=decorators) | ast.AsyncFunctionDef(decorator_list=decorators):
                defaults = [*statement.args.defaults, *filter(None, statement.args.kw_defaults)]
                return not (all(map(self._is_quiet_decorator, decorators)) and all(map(self.is_quiet, defaults)))
            case ast.ClassDef():
                return self._of_class(statement)
            case ast.Import() | ast.ImportFrom():
                return False
            case ast.Assign(targets=targets, value=value):
                return not (all(map(is_name, targets)) and self.is_quiet(value))
            case ast.AnnAssign(target=target, value=value):
                return not (is_name(target) and (value is None or self.is_quiet(value)))
            case _:
                return True

    def _of_class(self, node: ast.ClassDef) -> bool:
        decorators = [decorator_name(decorator, self.aliases) for decorator in node.decorator_list]
        return (
            not all(name in QUIET_DECORATORS | DATACLASSES for name in decorators)
            or bool(node.keywords)
            or not all(map(self.is_quiet, node.bases))
            or any(is_import(part) or self.of(part) for part in node.body if not is_idle(part))
        )

    def _is_quiet_decorator(self, node: ast.expr) -> bool:
        given = [*node.args, *(keyword.value for keyword in node.keywords)] if isinstance(node, ast.Call) else []
        return is_quiet_decorator(node, self.aliases) and all(map(self.is_quiet, given))

    def is_quiet(self, node: ast.expr) -> bool:
        """Whether an expression has a value and does nothing else."""
        match node:
            case ast.Constant() | ast.Name():
                return True
            case ast.Lambda(args=arguments):
                return all(map(self.is_quiet, [*arguments.defaults, *filter(None, arguments.kw_defaults)]))
            case ast.Call(func=function, args=arguments, keywords=keywords):
                given = [*arguments, *(keyword.value for keyword in keywords)]
                return self._is_quiet_call(function, given) and all(map(self.is_quiet, given))
            case (
                ast.Attribute()
                | ast.Tuple()
                | ast.List()
                | ast.Set()
                | ast.Dict()
                | ast.BinOp()
                | ast.UnaryOp()
                | ast.BoolOp()
                | ast.Compare()
                | ast.Subscript()
                | ast.Slice()
                | ast.IfExp()
                | ast.JoinedStr()
                | ast.FormattedValue()
            ):
                return all(self.is_quiet(part) for part in ast.iter_child_nodes(node) if isinstance(part, ast.expr))
            case _:
                return False

    def _is_quiet_call(self, function: ast.expr, given: list[ast.expr]) -> bool:
        if is_method_of_constant(function):
            return True
        name = full_name(function, self.aliases)
        if name.startswith("builtins.") and dotted(function)[0] in self.bound:
            return False
        return name in QUIET_CALLS or (name in QUIET_IF_WRITTEN_OUT and all(map(is_written_out, given)))


def is_written_out(node: ast.expr) -> bool:
    """Whether an expression makes a container, or a constant, of its own."""
    return isinstance(node, CONTAINERS) or (isinstance(node, ast.Call) and is_method_of_constant(node.func))


def is_method_of_constant(function: ast.expr) -> bool:
    """Whether what is called is a method of a text or a number that is written out."""
    return isinstance(function, ast.Attribute) and isinstance(function.value, ast.Constant)


def is_name(target: ast.expr) -> bool:
    """Whether what is assigned to is a name, or names."""
    match target:
        case ast.Name():
            return True
        case ast.Tuple(elts=parts) | ast.List(elts=parts):
            return all(map(is_name, parts))
        case _:
            return False
