"""Reads the part of a statement that affects results, and the names that this depends on.

Comments and formatting are not part of a syntax tree. The following is dropped in addition: docstrings, `pass`, the
order of adjacent imports, annotations of functions and variables, blocks under `if TYPE_CHECKING:`,
and the texts and bounds of pydantic fields, which describe and refuse values but do not produce any. Annotations of
fields of classes are kept.
"""

import ast
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Literal

from tasks.caching.code.dynamic import REVEALING
from tasks.caching.code.effects import is_idle, is_quiet_decorator
from tasks.caching.code.names import (
    CLASS,
    DECLARATION,
    ENTRY,
    FIELD,
    UNKNOWN,
    Chain,
    Import,
    dotted,
    full_name,
    imports_in,
    in_import_order,
    split_imports,
)
from tasks.caching.code.settings_syntax import (
    DECLARING,
    DESCRIBING_METHODS,
    annotation_of,
    bare_type,
    is_about_values,
    is_outside_key,
    is_type_of,
    only_holds,
)

#: How a statement is read: as code, as part of settings whose values are in the key, or as a registry of modules, of
#: which only the attributes that are read are followed.
Form = Literal["code", "setting", "registry"]

#: Arguments of pydantic's Field that only describe a value.
DESCRIBING = frozenset({"description", "title", "examples"})

#: Arguments that refuse values: in settings they do not affect results, since the key has the accepted values.
REFUSING = frozenset({"ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length", "pattern"})


class Reader:
    """Reads a statement once: the part of it that affects results, as text, and the names that this depends on.

    Args:
        aliases: what the names stand for that the module imports.
        package: the dotted name of the package that relative imports start from.
        keeps_typing: whether blocks under `if TYPE_CHECKING:` may run.
        form: in which the statement is read.
    """

    def __init__(self, aliases: Mapping[str, str], package: str, *, keeps_typing: bool, form: Form = "code") -> None:
        self.aliases, self.package, self.keeps_typing, self.form = aliases, package, keeps_typing, form
        self.text: list[str] = []
        self.uses: dict[Chain, int] = {}
        self.annotated: dict[Chain, int] = {}
        self.imports: list[Import] = []
        self._found = self.uses
        self._in_class = self._only_holds = self._in_type = self._describes = False
        self._classes = 0
        self._looked_into: set[ast.AST] = set()

    def read(self, node: ast.AST) -> None:
        """Reads a syntax node with its children."""
        if (special := SPECIAL.get(type(node))) is not None:
            special(self, node)
            return
        self.text.append(type(node).__name__)
        for name in node._fields:
            self._read_value(getattr(node, name, None))

    def _read_value(self, value: object) -> None:
        """Reads the value of a node's field."""
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
        """Reads a block of statements. `Closure` adds the order of its imports, where that may matter."""
        self.text.append("{")
        statements = self.cleaned(body)
        for statement in statements:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                self.imports += imports_in(statement, self.package)
        for statement in in_import_order(statements):
            self.read(statement)
        self.text.append("}")

    def cleaned(self, body: Iterable[ast.stmt]) -> list[ast.stmt]:
        """A block without what never runs, and with its imports split."""
        return list(split_imports(self._running(body)))

    def _running(self, body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
        for statement in body:
            if isinstance(statement, ast.If) and self._is_typing(statement.test):
                yield from self._running(statement.orelse)
            elif not is_idle(statement):
                yield statement

    def _is_typing(self, test: ast.expr) -> bool:
        return not self.keeps_typing and dotted(test) in (("TYPE_CHECKING",), ("typing", "TYPE_CHECKING"))

    # --- Nodes that are not read field by field

    def read_name(self, node: ast.Name) -> None:
        """Reads a name."""
        self.text.append(f"={node.id}")
        self._found.setdefault((node.id,), node.lineno)

    def read_attribute(self, node: ast.Attribute) -> None:
        """Reads a dotted name, or an attribute of another expression."""
        if node.attr == CLASS:
            self._note_class(node)
        self._looked_into.add(node.value)
        if chain := dotted(node):
            self.text.append(f"={'.'.join(chain)}")
            is_idle_look = self._describes and not DECLARING.isdisjoint(chain)
            self._found.setdefault(chain[:1] if is_idle_look else chain, node.lineno)
        elif isinstance(node.value, ast.Subscript) and (registry := dotted(node.value.value)):
            self.text += [f".{node.attr}", "Subscript", f"={'.'.join(registry)}"]
            self._found.setdefault((*registry, ENTRY, node.attr), node.lineno)
            self.read(node.value.slice)
        else:
            self.text.append(f".{node.attr}")
            self._note(node.attr, node.lineno)
            self.read(node.value)

    def _note(self, attribute: object, line: int) -> None:
        """Notes an attribute that leads to code, or to how settings are declared, by whatever object it is read of."""
        if isinstance(attribute, str) and (attribute in REVEALING or (attribute in DECLARING and not self._describes)):
            self._found.setdefault((UNKNOWN, attribute), line)

    def _note_class(self, node: ast.expr) -> None:
        """Notes an expression that may be a class of settings, unless only a name of it is read, or it is compared."""
        if node not in self._looked_into and not self._describes:
            self._found.setdefault((UNKNOWN, CLASS), node.lineno)

    def read_comparison(self, node: ast.Compare) -> None:
        """Reads a comparison."""
        self._looked_into |= {node.left, *node.comparators}
        self.text.append("Compare")
        for name in node._fields:
            self._read_value(getattr(node, name))

    def read_constant(self, node: ast.Constant) -> None:
        """Reads a constant, without the `u` that a string may have before it; it may name an attribute for getattr."""
        if self._in_type and annotation_of(node) is not node:
            self.read(annotation_of(node))
        else:
            self.text.append(f"const {node.value!r}")
            self._note(node.value, node.lineno)

    def read_context(self, node: ast.AST) -> None:
        """Skips the context of a name, read or written, which its place shows."""

    def read_global(self, node: ast.Global) -> None:
        """Reads the names of the module that a function rebinds."""
        self.text.append(f"global {node.names}")
        for name in node.names:
            self._found.setdefault((name,), node.lineno)

    def read_import(self, node: ast.Import | ast.ImportFrom) -> None:
        """Reads an import inside a statement, whose names `read_block` notes."""
        self.text.append(ast.dump(node))

    def read_call(self, node: ast.Call) -> None:
        """Reads a call; of pydantic's Field, without texts and bounds."""
        dropped: Collection[str | None] = ()
        if full_name(node.func, self.aliases) == FIELD:
            dropped = DESCRIBING | REFUSING if self.form == "setting" else DESCRIBING
        if isinstance(node.func, ast.Name) and node.func.id == "vars" and not node.args:
            self._found.setdefault(("locals",), node.lineno)  # which it is then
        if is_type_of(node):
            self._note_class(node)
        self.text.append("Call")
        self.read(node.func)
        self._read_value(node.args)
        self._read_value([part for part in node.keywords if part.arg not in dropped])

    def read_subscript(self, node: ast.Subscript) -> None:
        """Reads a subscript; of a type whose values are in the key, without what refuses values."""
        is_setting = self.form == "setting" and self._found is self.annotated
        if is_setting and bare_type(node, self.aliases) is not node:
            self.read(bare_type(node, self.aliases))
            return
        self.text.append("Subscript")
        self.read(node.value)
        inside, self._in_type = self._in_type, self._in_type and self._holds_types(node)
        self.read(node.slice)
        self._in_type = inside

    def _holds_types(self, node: ast.Subscript) -> bool:
        """Whether texts in the brackets of a type are types as well."""
        return full_name(node.value, self.aliases) not in ("typing.Annotated", "typing.Literal")

    def read_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """Reads a function, without annotations unless a decorator may read them."""
        self.text.append(f"{type(node).__name__} {node.name}")
        for decorator in node.decorator_list:
            self._read_decorator(decorator)
        quiet = all(is_quiet_decorator(decorator, self.aliases) for decorator in node.decorator_list)
        given = node.args
        # Where each kind of parameters ends.
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
        outside = self._in_class, self._describes
        self._in_class, self._describes = False, self._describes or node.name in DESCRIBING_METHODS
        self.read_block(node.body)
        self._in_class, self._describes = outside

    def _read_decorator(self, node: ast.expr) -> None:
        """Reads a decorator; the first argument of the one that declares a stage is its settings class."""
        match node:
            case ast.Call(func=function, args=[config, *rest]) if full_name(function, self.aliases) == DECLARATION:
                self.text.append("stage")
                self._read_setting(config)
                self._read_value([*rest, *node.keywords])
            case _:
                self.text.append("@")
                self.read(node)

    def read_class(self, node: ast.ClassDef) -> None:
        """Reads a class; a settings class, without its fields and validators.

        The key has the validated values, so these do not affect results by themselves. But private and excluded
        attributes are not in the key, and a validator may set them.
        """
        outer, self.form = self.form, "code" if self._classes else self.form  # a class in another is none of settings
        self._classes += 1
        self.text.append(f"class {node.name}")
        for base in node.bases:
            self._read_type(base)
        self._read_value([*node.keywords, *node.decorator_list])
        body = self.cleaned(node.body)
        if self.form == "setting" and not any(is_outside_key(part, self.aliases) for part in body):
            for part in body:
                if isinstance(part, ast.AnnAssign) and is_about_values(part, self.aliases):
                    self._read_quietly(part.annotation)
            body = [part for part in body if not is_about_values(part, self.aliases)]
        outside = self._in_class, self._only_holds
        self._in_class, self._only_holds = True, only_holds(node, self.aliases)
        self.read_block(body)
        self._in_class, self._only_holds = outside
        self._classes -= 1
        self.form = outer

    def read_annotated(self, node: ast.AnnAssign) -> None:
        """Reads an annotated assignment; the annotation counts only in a class, where it may be that of a field."""
        if self._in_class:
            self.text.append("field")
            self._read_type(node.annotation)
        else:
            # Without a value, it makes the name local.
            self.text.append("Assign" if node.value is not None else "local")
        self._read_value([node.target])
        if node.value is not None:
            self.read(node.value)
        if not self._in_class:
            self.text.append(repr(None))  # like an assignment without an annotation

    def _read_type(self, node: ast.expr) -> None:
        """Reads the type of a field, or a base class. A class that only holds values does not construct its types."""
        if self.form == "setting" or self._only_holds:
            self._read_setting(node)
        else:
            self._read_annotation(node)

    def _read_setting(self, node: ast.expr) -> None:
        """Reads a type whose values are in the key."""
        self._found = self.annotated
        self._read_annotation(node)
        self._found = self.uses

    def _read_annotation(self, node: ast.expr) -> None:
        """Reads a type, of which a part may be a text."""
        inside, self._in_type = self._in_type, True
        self.read(annotation_of(node))
        self._in_type = inside

    def _read_quietly(self, node: ast.expr) -> None:
        """Reads only the names in the type of a field that does not count itself."""
        text, self.text = self.text, []
        self._read_setting(node)
        self.text = text

    def read_alias(self, node: ast.Assign) -> None:
        """Reads an alias of a type whose values are in the key: it does not count itself, but leads to the type."""
        self._read_quietly(node.value)


#: The methods that read nodes which are not read field by field, by type.
SPECIAL: dict[type[ast.AST], Callable[[Reader, Any], None]] = {
    ast.AnnAssign: Reader.read_annotated,
    ast.AsyncFunctionDef: Reader.read_function,
    ast.Attribute: Reader.read_attribute,
    ast.Call: Reader.read_call,
    ast.ClassDef: Reader.read_class,
    ast.Compare: Reader.read_comparison,
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
