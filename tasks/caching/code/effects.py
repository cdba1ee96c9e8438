"""Which statements have side effects: they count wherever their module is imported."""

import ast
import functools
from collections.abc import Collection, Mapping

from tasks.caching.code.locating import find_top
from tasks.caching.code.names import DECLARATION, FIELD, bound_names, decorator_name, dotted, full_name, is_import
from tasks.caching.code.sources import PROJECT

#: Decorators without side effects, which do not read annotations either.
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

#: Decorators of classes without side effects, which do read annotations.
DATACLASSES = frozenset({"dataclasses.dataclass", "pydantic.dataclasses.dataclass"})

#: Calls without side effects, provided that their arguments have none.
QUIET_CALLS = frozenset(
    {
        *(f"builtins.{name}" for name in ("abs", "bool", "bytes", "float", "int", "len", "object", "range", "str")),
        "collections.namedtuple",
        "contextvars.ContextVar",
        "dataclasses.field",
        "datetime.timedelta",
        "enum.auto",
        "functools.partial",
        "logging.getLogger",
        *(
            f"math.{name}"
            for name in ("ceil", "cos", "exp", "floor", "log", "log10", "log2", "pow", "sin", "sqrt", "tan")
        ),
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

#: Likewise, if their arguments are literals: they iterate over them, which may exhaust an iterator.
QUIET_WITH_LITERALS = frozenset(
    f"builtins.{name}" for name in ("dict", "frozenset", "list", "max", "min", "set", "sorted", "sum", "tuple")
)

CONTAINERS = (ast.Tuple, ast.List, ast.Set, ast.Dict, ast.Constant)


def is_quiet_decorator(node: ast.expr, aliases: Mapping[str, str], bound: Collection[str] = ()) -> bool:
    """Whether a decorator of a function has no side effects and does not read annotations.

    Args:
        node: the decorator.
        aliases: what the names stand for that the module imports.
        bound: names that the module binds, whose attribute `setter` is not that of a property.
    """
    if decorator_name(node, aliases) in QUIET_DECORATORS:
        return True
    match dotted(node):
        case (head, "setter" | "deleter"):
            return head not in aliases and head not in bound
        case _:
            return False


def is_idle(statement: ast.stmt) -> bool:
    """Whether a statement does nothing: `pass`, or a constant that stands alone, like a docstring."""
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


class Effects:
    """Finds the statements of a module that have side effects.

    `of` must be called for the statements in their order: an operation on the result of one with effects has effects.

    Args:
        aliases: what the names stand for that the module imports.
        bound: all names that the module binds.
    """

    def __init__(self, aliases: Mapping[str, str], bound: frozenset[str]) -> None:
        self.aliases, self.bound = aliases, bound
        self._results: set[str] = set()

    def of(self, statement: ast.stmt) -> bool:
        """Whether a statement has side effects."""
        if has := self._has(statement):
            self._results.update(bound_names(statement))
        return has

    def _has(self, statement: ast.stmt) -> bool:
        match statement:
            case ast.FunctionDef(decorator_list=decorators) | ast.AsyncFunctionDef(decorator_list=decorators):
                defaults = [*statement.args.defaults, *filter(None, statement.args.kw_defaults)]
                return not (all(map(self._is_quiet_decorator, decorators)) and all(map(self.is_quiet, defaults)))
            case ast.ClassDef():
                return self._of_class(statement)
            case ast.Import() | ast.ImportFrom():
                return False
            case ast.Assign(targets=targets, value=value):
                if not all(isinstance(target, ast.Name) for target in targets) and self._is_effect_result(value):
                    return True
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
            or any(is_import(part) or self._has(part) for part in node.body if not is_idle(part))
        )

    def _is_quiet_decorator(self, node: ast.expr) -> bool:
        given = [*node.args, *(keyword.value for keyword in node.keywords)] if isinstance(node, ast.Call) else []
        return is_quiet_decorator(node, self.aliases, self.bound) and all(map(self.is_quiet, given))

    def is_quiet(self, node: ast.expr) -> bool:
        """Whether an expression has no side effects."""
        match node:
            case ast.Constant() | ast.Name():
                return True
            case ast.Lambda(args=arguments):
                return all(map(self.is_quiet, [*arguments.defaults, *filter(None, arguments.kw_defaults)]))
            case ast.Call(func=function, args=arguments, keywords=keywords):
                given = [*arguments, *(keyword.value for keyword in keywords)]
                return self._is_quiet_call(function, given) and all(map(self.is_quiet, given))
            case ast.Tuple() | ast.List() | ast.Set() | ast.Dict():
                return all(map(self.is_quiet, parts_of(node)))
            case ast.BinOp() | ast.UnaryOp() | ast.Subscript():
                return all(self.is_quiet(part) and not self._may_act(part) for part in parts_of(node))
            case (
                ast.Attribute()
                | ast.BoolOp()
                | ast.Compare()
                | ast.Slice()
                | ast.IfExp()
                | ast.JoinedStr()
                | ast.FormattedValue()
            ):
                return all(self.is_quiet(part) and not self._is_effect_result(part) for part in parts_of(node))
            case _:
                return False

    def _may_act(self, node: ast.expr) -> bool:
        """Whether an operator or a subscript of a value may have effects: of the result of an effect, or of an import.

        Of what is imported, project code alone: others define types so. And nothing is compared or formatted for its
        effects.
        """
        chain = dotted(node)
        origin = self.aliases.get(chain[0], "") if chain else ""
        return self._is_effect_result(node) or (bool(origin) and is_edited(origin.partition(".")[0]))

    def _is_effect_result(self, node: ast.expr) -> bool:
        """Whether an expression is a name that a statement with effects bound: its operators may have effects too."""
        return isinstance(node, ast.Name) and node.id in self._results

    def _is_quiet_call(self, function: ast.expr, given: list[ast.expr]) -> bool:
        if is_method_of_constant(function):
            return True
        name = full_name(function, self.aliases)
        if name.startswith("builtins.") and dotted(function)[0] in self.bound:
            return False
        return name in QUIET_CALLS or (name in QUIET_WITH_LITERALS and all(map(is_literal_container, given)))


@functools.cache
def is_edited(name: str) -> bool:
    """Whether a top-level module or package is project code, and not Python's own or installed."""
    return bool(find_top(name, PROJECT))


def parts_of(node: ast.expr) -> list[ast.expr]:
    """The direct subexpressions of an expression."""
    return [part for part in ast.iter_child_nodes(node) if isinstance(part, ast.expr)]


def is_literal_container(node: ast.expr) -> bool:
    """Whether an expression is a constant, or creates a new container."""
    return isinstance(node, CONTAINERS) or (isinstance(node, ast.Call) and is_method_of_constant(node.func))


def is_method_of_constant(function: ast.expr) -> bool:
    """Whether a called expression is a method of a literal string or number."""
    return isinstance(function, ast.Attribute) and isinstance(function.value, ast.Constant)


def is_name(target: ast.expr) -> bool:
    """Whether the target of an assignment is a name, or a tuple of names."""
    match target:
        case ast.Name():
            return True
        case ast.Tuple(elts=parts) | ast.List(elts=parts):
            return all(map(is_name, parts))
        case _:
            return False
