"""Code that is loaded by names that are computed while it runs, of which no key can know."""

#: What loads or reaches code by names that are computed while it runs.
DYNAMIC = (
    "builtins.__import__",
    "builtins.compile",
    "builtins.eval",
    "builtins.exec",
    "builtins.globals",
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
    """A stage loads code by a name that is not written out, so that its key could not know it."""


def find_dynamic(origin: str) -> str:
    """What of these a name stands for, or is part of; empty if none.

    Args:
        origin: the name in full, such as `importlib.import_module`.
    """
    found = next((known for known in DYNAMIC if f"{origin}.".startswith(f"{known}.")), "")
    return found or (origin if origin in ("importlib", "builtins") else "")
