"""What of a statement shapes a result, and the names that it depends on.

Comments and formatting are not part of a syntax tree. Besides these, what is dropped: docstrings, `pass`, the order of
neighbouring imports at the top level, annotations of functions and variables, blocks under `if TYPE_CHECKING:`, and of
pydantic's fields the texts and bounds, which describe and refuse but make nothing. Annotations of fields of classes
stay.
"""

import ast
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Literal

from tasks.caching.code.effects import is_idle, is_quiet_decorator
from tasks.caching.code.names import (
    DECLARATION,
    ENTRY,
    FIELD,
    Chain,
    Import,
    dotted,
    full_name,
    imports_in,
    is_import,
)
from tasks.caching.code.settings_syntax import annotation_of, bare_type, is_about_values, is_beside_the_key, only_holds

#: How a statement is looked at: as it is, as a setting whose values stand in the key by themselves, or as a registry of
#: modules, of which only the attributes that are read are followed.
Form = Literal["code", "setting", "registry"]

#: Arguments of pydantic's Field that make nothing of a value.
DESCRIBING = frozenset({"description", "title", "examples"})

#: Those that refuse values: of settings they shape nothing, as the key has what they let pass.
REFUSING = frozenset({"ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length", "pattern"})


def one_a_name(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """A block whose imports bind one name each."""
    for statement in body:
        match statement:
            case ast.Import(names=names):
                yield from (ast.copy_location(ast.Import([alias]), statement) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                yield from (ast.copy_location(ast.ImportFrom(module, [alias], level), statement) for alias in names)
            case _:
                yield statement


def in_import_order(body: Iterable[ast.stmt]) -> list[ast.stmt]:
    """A block whose neighbouring imports are sorted."""
    runs = itertools.groupby(body, key=is_import)
    ordered = (sorted(run, key=ast.dump) if are_imports else list(run) for are_imports, run in runs)
    return list(itertools.chain.from_iterable(ordered))


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
        """A block without what never runs, each import of one name."""
        return list(one_a_name(self._running(body)))

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
        elif isinstance(node.value, ast.Subscript) and (registry := dotted(node.value.value)):
            self.text += [f".{node.attr}", "Subscript", f"={'.'.join(registry)}"]
            self._found.setdefault((*registry, ENTRY, node.attr), node.lineno)
            self.read(node.value.slice)
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
        dropped: Collection[str | None] = ()
        if full_name(node.func, self.aliases) == FIELD:
            dropped = DESCRIBING | REFUSING if self.form == "setting" else DESCRIBING
        self.text.append("Call")
        self.read(node.func)
        self._read_value(node.args)
        self._read_value([part for part in node.keywords if part.arg not in dropped])

    def read_subscript(self, node: ast.Subscript) -> None:
        """What stands in brackets; of a type whose values stand in the key, without what refuses values."""
        is_setting = self.form == "setting" and self._found is self.annotated
        if is_setting and bare_type(node, self.aliases) is not node:
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
            case ast.Call(func=function, args=[config, *rest]) if full_name(function, self.aliases) == DECLARATION:
                self.text.append("stage")
                self._read_setting(config)
                self._read_value([*rest, *node.keywords])
            case _:
                self.text.append("@")
                self.read(node)

    def read_class(self, node: ast.ClassDef) -> None:
        """A class; one of settings, without its fields and validators.

        The key has the values as they are after all of that, so that nothing of it shapes a result by itself. But what
        is private or excluded is not in the key, and a validator may set it.
        """
        self.text.append(f"class {node.name}")
        for base in node.bases:
            self._read_type(base)
        self._read_value([*node.keywords, *node.decorator_list])
        body = self.cleaned(node.body)
        if self.form == "setting" and not any(is_beside_the_key(part, self.aliases) for part in body):
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
