"""Which statements do more than to define something: they count wherever their module is imported."""

import ast
from collections.abc import Collection, Mapping

from tasks.caching.code.names import DECLARATION, FIELD, bound_names, decorator_name, dotted, full_name, is_import

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

#: Calls that give a value and do nothing else, as far as their arguments do nothing.
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

#: Likewise, but they take what they are given apart, which may be used up by it.
QUIET_IF_WRITTEN_OUT = frozenset(
    f"builtins.{name}" for name in ("dict", "frozenset", "list", "max", "min", "set", "sorted", "sum", "tuple")
)

CONTAINERS = (ast.Tuple, ast.List, ast.Set, ast.Dict, ast.Constant)


def is_quiet_decorator(node: ast.expr, aliases: Mapping[str, str], bound: Collection[str] = ()) -> bool:
    """Whether a decorator of a function leaves no trace elsewhere and reads no annotation.

    Args:
        node: the decorator.
        aliases: what names stand for that the module imports.
        bound: names that the module gives a value: what is called `setter` of one of those is none of a property's.
    """
    if decorator_name(node, aliases) in QUIET_DECORATORS:
        return True
    match dotted(node):
        case (head, "setter" | "deleter"):
            return head not in aliases and head not in bound
        case _:
            return False


def is_idle(statement: ast.stmt) -> bool:
    """Whether a statement does nothing: `pass`, and a constant that stands alone, as a docstring does."""
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


class Effects:
    """Tells statements that do more than to define something: they count wherever their module is imported.

    Statements are to be asked about in their order: what is done with the outcome of one with effects has effects.

    Args:
        aliases: what names stand for that the module imports.
        bound: all names that the module gives a value.
    """

    def __init__(self, aliases: Mapping[str, str], bound: frozenset[str]) -> None:
        self.aliases, self.bound = aliases, bound
        self._outcomes: set[str] = set()

    def of(self, statement: ast.stmt) -> bool:
        """Whether a statement has effects."""
        if has := self._has(statement):
            self._outcomes.update(bound_names(statement))
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
                if not all(isinstance(target, ast.Name) for target in targets) and self._is_outcome(value):
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
        """Whether an expression has a value and does nothing else."""
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
            case (
                ast.Attribute()
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
                return all(self.is_quiet(part) and not self._is_outcome(part) for part in parts_of(node))
            case _:
                return False

    def _is_outcome(self, node: ast.expr) -> bool:
        """Whether an expression is a name for what a statement with effects made: its operators may have some too."""
        return isinstance(node, ast.Name) and node.id in self._outcomes

    def _is_quiet_call(self, function: ast.expr, given: list[ast.expr]) -> bool:
        if is_method_of_constant(function):
            return True
        name = full_name(function, self.aliases)
        if name.startswith("builtins.") and dotted(function)[0] in self.bound:
            return False
        return name in QUIET_CALLS or (name in QUIET_IF_WRITTEN_OUT and all(map(is_written_out, given)))


def parts_of(node: ast.expr) -> list[ast.expr]:
    """The expressions that an expression is made of."""
    return [part for part in ast.iter_child_nodes(node) if isinstance(part, ast.expr)]


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
