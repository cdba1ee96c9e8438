"""Statements of settings classes: whether they only declare values, which are in the key, or something beyond it."""

import ast
from collections.abc import Collection, Iterator, Mapping

from tasks.caching.code.names import FIELD, Chain, decorator_name, dotted, full_name

#: Decorators and bases of classes that take the values of their annotated names as they are.
HOLDERS = frozenset({"dataclasses.dataclass", "typing.NamedTuple", "typing.Protocol"})


#: Decorators of validators, which can only refuse a value or change it before it enters the key.
VALIDATORS = frozenset({"pydantic.field_validator", "pydantic.model_validator"})


#: Annotations of names that are constants of a class, not fields.
NO_FIELDS = frozenset({"typing.ClassVar", "typing.Final", "typing_extensions.ClassVar", "typing_extensions.Final"})


#: Attributes of settings and their classes by which code learns how they are declared, or makes others.
DECLARING = frozenset(
    {
        "__fields__",
        "__pydantic_core_schema__",
        "__pydantic_fields__",
        "__pydantic_validator__",
        "construct",
        "model_construct",
        "model_fields",
        "model_json_schema",
        "model_validate",
        "model_validate_json",
        "model_validate_strings",
        "parse_obj",
    }
)

#: Functions that a validator may give its model to: they change nothing.
LOOKING = frozenset({"getattr", "hasattr", "id", "isinstance", "repr", "str", "super", "type"})

#: Methods for pydantic that only affect the model's JSON schema.
DESCRIBING_METHODS = frozenset({"__get_pydantic_json_schema__"})


def only_holds(node: ast.ClassDef, aliases: Mapping[str, str]) -> bool:
    """Whether a class takes the values of its annotated names as they are, like a dataclass."""
    names = [decorator_name(decorator, aliases) for decorator in node.decorator_list]
    names += [full_name(base, aliases) for base in node.bases]
    return bool(names) and all(name in HOLDERS for name in names)


def annotation_of(node: ast.expr) -> ast.expr:
    """An annotation; parsed if it is a string."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        try:
            return ast.parse(node.value, mode="eval").body
        except SyntaxError:
            return node
    return node


def is_type(node: ast.expr, aliases: Mapping[str, str]) -> bool:
    """Whether an expression can be a type, such as an alias of a class."""
    match bare_type(node, aliases):
        case ast.Name() | ast.Attribute() | ast.Constant(value=None):
            return True
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return is_type(left, aliases) and is_type(right, aliases)
        case _:
            return False


def bare_type(node: ast.expr, aliases: Mapping[str, str]) -> ast.expr:
    """A type without the metadata of Annotated."""
    match node:
        case ast.Subscript(value=base, slice=ast.Tuple(elts=[kind, *_])) if (
            full_name(base, aliases) == "typing.Annotated"
        ):
            return bare_type(kind, aliases)
        case _:
            return node


def is_private(node: ast.stmt) -> bool:
    """Whether a statement of a class defines a private attribute."""
    match node:
        case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
            return name.startswith("_")
        case _:
            return False


def is_outside_key(node: ast.stmt, aliases: Mapping[str, str]) -> bool:
    """Whether a statement of a settings class defines a value that is in no key, or may set one."""
    if is_private(node):
        return True
    calls = (part for part in ast.walk(node) if isinstance(part, ast.Call) and full_name(part.func, aliases) == FIELD)
    if any(keyword.arg == "exclude" for call in calls for keyword in call.keywords):
        return True
    if isinstance(node, ast.FunctionDef) and is_validator(node, aliases):
        return any(map(sets_attribute, ast.walk(node))) or hands_on(node)
    return any(map(constructs_settings, ast.walk(node)))


def constructs_settings(node: ast.AST) -> bool:
    """Whether a part of a method constructs settings of its own class, whose defaults are in no key then."""
    match node:
        case ast.Call(func=ast.Name(id="cls") | ast.Attribute(attr="__class__")):
            return True
        case ast.Call(func=ast.Call(func=ast.Name(id="type"))):
            return True
        case _:
            return False


def sets_attribute(node: ast.AST) -> bool:
    """Whether a part of a function assigns to anything but a local name."""
    match node:
        case ast.Attribute(ctx=ast.Store()) | ast.Subscript(ctx=ast.Store()) | ast.Global():
            return True
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name in ("setattr", "__setattr__", "__dict__")
        case _:
            return False


def hands_on(node: ast.FunctionDef) -> bool:
    """Whether a validator passes its model on, or calls a method of it, which may set what is in no key."""
    own = (*node.args.posonlyargs, *node.args.args)[:1]
    model = own[0].arg if own else ""
    for part in ast.walk(node):
        match part:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name))) if name == model:
                return True
            case ast.Call(func=function, args=given, keywords=named):
                is_looking = isinstance(function, ast.Name) and function.id in LOOKING
                values = [*given, *(keyword.value for keyword in named)]
                if not is_looking and any(isinstance(value, ast.Name) and value.id == model for value in values):
                    return True
    return False


def forward_names(node: ast.stmt) -> Iterator[Chain]:
    """The names in the texts of an alias of a type, such as `list["Shape"]`."""
    if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Subscript):
        for text in (part for part in ast.walk(node.value) if isinstance(part, ast.Constant)):
            for part in ast.walk(annotation_of(text)):
                if isinstance(part, ast.Name | ast.Attribute) and (chain := dotted(part)):
                    yield chain


def declares_any(node: ast.ClassDef, names: Collection[str], aliases: Mapping[str, str]) -> bool:
    """Whether a class of settings declares one of these names as if it were a field."""
    return bool(names) and any(
        isinstance(part, ast.AnnAssign)
        and isinstance(part.target, ast.Name)
        and part.target.id in names
        and is_about_values(part, aliases)
        for part in ast.walk(node)
    )


def is_type_of(node: ast.Call) -> bool:
    """Whether a call returns the class of an object."""
    return isinstance(node.func, ast.Name) and node.func.id == "type" and len(node.args) == 1


def is_validator(node: ast.stmt, aliases: Mapping[str, str]) -> bool:
    """Whether a statement of a class is a validator."""
    return isinstance(node, ast.FunctionDef) and any(
        decorator_name(decorator, aliases) in VALIDATORS for decorator in node.decorator_list
    )


def is_about_values(node: ast.stmt, aliases: Mapping[str, str]) -> bool:
    """Whether a statement in a settings class only declares or validates values."""
    match node:
        case ast.AnnAssign():
            return not (is_private(node) or is_class_variable(node, aliases))
        case ast.FunctionDef(name=name):
            return name in DESCRIBING_METHODS or is_validator(node, aliases)
        case _:
            return False


def is_class_variable(node: ast.AnnAssign, aliases: Mapping[str, str]) -> bool:
    """Whether an annotated name of a class is not a field."""
    kind = annotation_of(node.annotation)
    return full_name(kind.value if isinstance(kind, ast.Subscript) else kind, aliases) in NO_FIELDS
