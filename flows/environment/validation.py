"""What is wrong with the settings that Prefect finds when it is imported, and where they were made."""

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from flows.errors import InputError, shown

#: How Prefect's own message names a setting that is no JSON.
UNPARSED = re.compile(r'field "(?P<field>\w+)"')

#: What HTTP has for a header's name and for its value. Letters beyond ASCII mean something else to each server.
HEADER_NAME = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
HEADER_VALUE = re.compile(r"(?:[!-~]+(?:[ \t]+[!-~]+)*)?")

#: What pydantic adds of settings that depend on one that is wrong.
CONSEQUENCE = "default_factory_not_called"


@contextlib.contextmanager
def readable_settings() -> Iterator[None]:
    """Surrounds an import of Prefect, which reads its settings.

    Raises:
        InputError: one of them is wrong; names it as the user has.
    """
    said = io.StringIO()
    try:
        # Prefect's plugins are begun by the same import, and print what is wrong with the settings in their way.
        with contextlib.redirect_stderr(said):
            yield
        sys.stderr.write(said.getvalue())
        require_sendable_headers()
    except ValidationError as error:
        problems = [
            f"{setting(problem['loc'], os.environ, problem['input'])}: "
            f"{problem['msg'][0].lower()}{problem['msg'][1:]} (got {shown(problem['input'])})"
            for problem in error.errors(include_url=False)
            if problem["type"] != CONSEQUENCE
        ]
        raise InputError("\n  ".join(["Prefect cannot take its settings, correct them:", *problems])) from error
    except ValueError as error:  # one that cannot even be parsed
        found = UNPARSED.search(str(error))
        named = setting((found["field"],), os.environ) if found else "one of them"
        raise InputError(f"Prefect cannot take its settings: {named} is no JSON, correct it") from error


def require_sendable_headers() -> None:
    """Shows that the headers that the user has Prefect send can be sent. Prefect takes any text for one.

    Raises:
        InputError: one of them cannot; names it, and not its value, which may be a secret.
    """
    from prefect.settings import get_current_settings

    place = ("client", "custom_headers")
    for name, value in get_current_settings().client.custom_headers.items():
        if not HEADER_NAME.fullmatch(name):
            what = "is no name of one: give ASCII letters, digits and hyphens"
        elif not HEADER_VALUE.fullmatch(value):
            what = "has a value that cannot be sent: give ASCII text, without line breaks and without spaces around it"
        else:
            continue
        raise InputError(f"{setting(place, os.environ)}: the header {name!r} {what}")


def setting(place: Sequence[int | str], environment: Mapping[str, str], value: Any = None) -> str:
    """A setting as its user knows it: the variable that sets it, or what its name in a file or a profile ends with.

    Args:
        place: the parts of its name, of which the last may be a key inside of a value.
        environment: of this process.
        value: that it has; None if that is not known.
    """
    for field in reversed(place):
        for name, text in environment.items():
            spelling = name.upper()
            is_it = spelling.startswith("PREFECT_") and spelling.endswith(f"_{str(field).upper()}")
            if is_it and (value in (None, text) or field != place[-1]):
                return f"the environment variable {name}"
    return f"`{place[-1]}` (in prefect.toml, pyproject.toml or the profile)"
