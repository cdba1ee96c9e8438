"""Code that is loaded dynamically, by names that are computed at run time: no key can cover it."""

#: What loads or reaches code by names that are computed at run time.
DYNAMIC = (
    "builtins.__import__",
    "builtins.compile",
    "builtins.eval",
    "builtins.exec",
    "builtins.globals",
    "builtins.locals",
    "importlib.__import__",
    "importlib.import_module",
    "importlib.machinery",
    "importlib.metadata.EntryPoint",
    "importlib.metadata.entry_points",
    "importlib.reload",
    "importlib.util.module_from_spec",
    "inspect.currentframe",
    "inspect.getmodule",
    "inspect.stack",
    "pkgutil",
    "pydantic.ImportString",
    "pydoc.locate",
    "runpy",
    "site.addsitedir",
    "sys._getframe",
    "sys.meta_path",
    "sys.modules",
    "sys.path",
    "sys.path_hooks",
    "types.FunctionType",
    "zipimport",
)


class UnseenCodeError(ValueError):
    """A stage loads code by a name that is computed at run time, so that its key cannot cover the code."""


def find_dynamic(origin: str) -> str:
    """The entry of `DYNAMIC` that a name stands for or is part of; empty if there is none.

    Args:
        origin: the full name, for example `importlib.import_module`.
    """
    found = next((known for known in DYNAMIC if f"{origin}.".startswith(f"{known}.")), "")
    return found or (origin if origin in ("importlib", "builtins") else "")
