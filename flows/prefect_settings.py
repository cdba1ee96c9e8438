"""What is wrong with the settings that Prefect finds when it is imported, and where they were made."""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from flows.problems import InputError, shown

#: How Prefect's own message names a setting that is no JSON.
UNPARSED = re.compile(r'field "(?P<field>\w+)"')

#: What pydantic adds of settings that depend on one that is wrong.
CONSEQUENCE = "default_factory_not_called"


@contextlib.contextmanager
def readable_settings() -> Iterator[None]:
    """Surrounds an import of Prefect, which reads its settings.

    Raises:
        InputError: one of them is wrong; names it as the user has.
    """
    try:
        yield
    except ValidationError as error:
        problems = [
            f"{setting(str(problem['loc'][-1]), os.environ, problem['input'])}: "
            f"{problem['msg'][0].lower()}{problem['msg'][1:]} (got {shown(problem['input'])})"
            for problem in error.errors(include_url=False)
            if problem["type"] != CONSEQUENCE
        ]
        raise InputError("\n  ".join(["Prefect cannot take its settings, correct them:", *problems])) from error
    except ValueError as error:  # one that cannot even be parsed
        found = UNPARSED.search(str(error))
        named = setting(found["field"], os.environ) if found else "one of them"
        raise InputError(f"Prefect cannot take its settings: {named} is no JSON, correct it") from error


def setting(field: str, environment: Mapping[str, str], value: Any = None) -> str:
    """A setting as its user knows it: the variable that sets it, or what its name in a file or a profile ends with.

    Args:
        field: the last part of its name.
        environment: of this process.
        value: that it has; None if that is not known.
    """
    for name, text in environment.items():
        spelling = name.upper()
        if spelling.startswith("PREFECT_") and spelling.endswith(f"_{field.upper()}") and value in (None, text):
            return f"the environment variable {name}"
    return f"`{field}` (in prefect.toml, pyproject.toml or the profile)"
