"""Code that is loaded dynamically, by names that are computed at run time: no key can cover it."""

import functools
from collections.abc import Callable
from types import FunctionType
from typing import Any

#: What loads, reaches or runs code by names or texts that are computed at run time, in another process too; what reads
#: the texts of code; and what reads files that lie among the code.
DYNAMIC = (
    "bdb",
    "builtins.__import__",
    "builtins.__loader__",
    "builtins.compile",
    "builtins.eval",
    "builtins.exec",
    "builtins.globals",
    "builtins.locals",
    "code",
    "codeop",
    "cProfile",
    "ctypes.PyDLL",
    "ctypes.pydll",
    "ctypes.pythonapi",
    "doctest",
    "gc.get_objects",
    "gc.get_referents",
    "gc.get_referrers",
    "importlib.__import__",
    "importlib.import_module",
    "importlib.machinery",
    "importlib.metadata.entry_points",
    "importlib.metadata.EntryPoint",
    "importlib.reload",
    "importlib.resources",
    "importlib.util.module_from_spec",
    "inspect.currentframe",
    "inspect.get_annotations",
    "inspect.getclosurevars",
    "inspect.getmodule",
    "inspect.getsource",
    "inspect.getsourcelines",
    "inspect.stack",
    "linecache",
    "logging.config",
    "marshal",
    "os.execl",
    "os.execle",
    "os.execlp",
    "os.execlpe",
    "os.execv",
    "os.execve",
    "os.execvp",
    "os.execvpe",
    "os.popen",
    "os.posix_spawn",
    "os.posix_spawnp",
    "os.spawnl",
    "os.spawnle",
    "os.spawnlp",
    "os.spawnlpe",
    "os.spawnv",
    "os.spawnve",
    "os.spawnvp",
    "os.spawnvpe",
    "os.system",
    "pdb",
    "_pickle",
    "pickle",
    "pkgutil",
    "profile",
    "pydantic.ImportString",
    "pydoc.locate",
    "runpy",
    "shelve",
    "site.addsitedir",
    "subprocess",
    "sys._current_frames",
    "sys._getframe",
    "sys.meta_path",
    "sys.modules",
    "sys.path",
    "sys.path_hooks",
    "timeit",
    "trace",
    "types.CodeType",
    "types.FunctionType",
    "types.LambdaType",
    "types.ModuleType",
    "typing.get_type_hints",
    "unittest",
    "zipimport",
)

#: The name, in any module, of its own file, from which others that lie beside it are found.
OWN_FILE = "__file__"

#: Attributes, of whatever object, that lead to all that a module holds, or to where Python looks for modules; as names
#: in a module, they are its own.
REVEALING = frozenset(
    {
        "__builtins__",
        "__globals__",
        "__loader__",
        "__path__",
        "ag_frame",
        "cr_frame",
        "f_back",
        "f_builtins",
        "f_globals",
        "f_locals",
        "gi_frame",
        "tb_frame",
    }
)


class UnseenCodeError(ValueError):
    """A stage can run code that its key does not cover, for example because it computes the name of a module."""


@functools.cache
def find_dynamic(origin: str) -> str:
    """The entry of `DYNAMIC` that a name stands for or is part of; empty if there is none.

    Args:
        origin: the full name, for example `importlib.import_module`.
    """
    # Of a module that another one imports, too: os.sys.modules is sys.modules.
    found = next((known for known in DYNAMIC if f".{known}." in f".{origin}."), "")
    return found or (origin if origin in ("importlib", "builtins") else "")


@functools.cache
def has_dynamic(module: str) -> bool:
    """Whether an entry of `DYNAMIC` can be reached through a module that is passed on as a whole."""
    return any(known.startswith(f"{module}.") for known in DYNAMIC)


def require_plain(function: Callable[..., Any]) -> None:
    """Checks that the code of a stage is found where its function says it is: at the top level of its module.

    What a decorator or a factory returns is made of other code, wherever that lies, and `functools.wraps` gives it the
    name of the function that it wraps.

    Raises:
        UnseenCodeError: it is no function that is defined at the top level of a module.
    """
    if isinstance(function, FunctionType) and not hasattr(function, "__wrapped__"):
        made = (function.__globals__.get("__name__"), function.__code__.co_qualname)
        if made == (function.__module__, function.__qualname__) and made[1].isidentifier():
            return
    code = getattr(function, "__code__", None)
    where = f" ({code.co_filename}, line {code.co_firstlineno})" if code else ""
    raise UnseenCodeError(
        f"stage {getattr(function, '__name__', function)!s} is no function that is defined at the top level of a "
        f"module, but was made by a decorator or by another function{where}, so that an edit of it would not be "
        "noticed. Define the stage with `def` at the top level, and call there what the decorator did"
    )
