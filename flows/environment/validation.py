"""Validation of the settings that Prefect reads when it is imported, and of where they were set."""

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from flows.errors import InputError, represent

#: How Prefect's own message names a setting that is not valid JSON.
UNPARSED = re.compile(r'field "(?P<field>\w+)"')

#: Valid names and values of HTTP headers. Servers interpret characters outside ASCII differently.
HEADER_NAME = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
HEADER_VALUE = re.compile(r"(?:[!-~]+(?:[ \t]+[!-~]+)*)?")

#: The type of problems that pydantic adds for settings that depend on an invalid one.
CONSEQUENCE = "default_factory_not_called"


@contextlib.contextmanager
def readable_settings() -> Iterator[None]:
    """Wraps an import of Prefect, which reads its settings.

    Raises:
        InputError: A setting is invalid; names it the way the user set it.
    """
    output = io.StringIO()
    try:
        # The same import starts Prefect's plugins, which print problems with the settings in their own way.
        with contextlib.redirect_stderr(output):
            yield
        sys.stderr.write(output.getvalue())
        require_sendable_headers()
    except ValidationError as error:
        problems = [
            f"{setting_name(problem['loc'], os.environ, problem['input'])}: "
            f"{problem['msg'][0].lower()}{problem['msg'][1:]} (got {represent(problem['input'])})"
            for problem in error.errors(include_url=False)
            if problem["type"] != CONSEQUENCE
        ]
        raise InputError("\n  ".join(["Prefect rejects its settings, correct them:", *problems])) from error
    except ValueError as error:  # a value that cannot be parsed
        found = UNPARSED.search(str(error))
        named = setting_name((found["field"],), os.environ) if found else "one of them"
        raise InputError(f"Prefect rejects its settings: {named} is not valid JSON, correct it") from error


def require_sendable_headers() -> None:
    """Checks that the custom headers the user has set can be sent. Prefect accepts any text.

    Raises:
        InputError: One cannot be sent; names it, but not its value, which may be a secret.
    """
    from prefect.settings import get_current_settings

    place = ("client", "custom_headers")
    for name, value in get_current_settings().client.custom_headers.items():
        if not HEADER_NAME.fullmatch(name):
            what = "is not a valid name: use ASCII letters, digits and hyphens"
        elif not HEADER_VALUE.fullmatch(value):
            what = "has a value that cannot be sent: use ASCII text without line breaks or surrounding spaces"
        else:
            continue
        raise InputError(f"{setting_name(place, os.environ)}: the header {name!r} {what}")


def setting_name(place: Sequence[int | str], environment: Mapping[str, str], value: Any = None) -> str:
    """Returns a setting as the user knows it: the variable that sets it, or the last part of its name in a file.

    Args:
        place: The parts of its name, the last of which may be a key inside a value.
        environment: Of this process.
        value: Of the setting; None if unknown.
    """
    for field in reversed(place):
        for name, text in environment.items():
            spelling = name.upper()
            is_it = spelling.startswith("PREFECT_") and spelling.endswith(f"_{str(field).upper()}")
            if is_it and (value in (None, text) or field != place[-1]):
                return f"the environment variable {name}"
    return f"`{place[-1]}` (in prefect.toml, pyproject.toml or the profile)"
