"""Errors that the user can fix: one message without a traceback, exit code 2."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

#: The most problems that one message lists.
MAX_PROBLEMS = 30

#: The most characters in a line of a message.
MAX_LINE_LENGTH = 1000


class InputError(Exception):
    """The request cannot be carried out as given; the message says why and what to do."""


def list_problems(error: "ValidationError", source: str, kind: str = "experiment") -> InputError:
    """Returns an error with every problem of a configuration, one line each, naming the fields.

    Args:
        error: Raised by pydantic.
        source: What was validated, for example the path of a file.
        kind: What it was validated as.
    """
    lines, problems = [], error.errors(include_url=False)
    for problem in problems[:MAX_PROBLEMS]:
        field = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "unknown field"
        elif problem["type"] == "string_pattern_mismatch":
            message = f"{represent(problem['input'])} is not of its form, which `workflow train --help` describes"
        elif problem["type"] != "value_error":
            message = f"{message[0].lower()}{message[1:]} (got {represent(problem['input'])})"
        lines.append(f"{field}: {message}" if field else message)
    if len(problems) > MAX_PROBLEMS:
        lines.append(f"and {len(problems) - MAX_PROBLEMS:,} more")
    return InputError("\n  ".join([f"{source} is not a valid {kind}:", *lines]))


def represent(value: object) -> str:
    """Returns the repr of a value, as far as it has one."""
    try:
        return repr(value)
    except ValueError:
        return "a number with too many digits"


def truncate(message: str) -> str:
    """Returns a message with its overlong lines cut off, such as a value of a million characters."""
    lines = (line if len(line) <= MAX_LINE_LENGTH else f"{line[:MAX_LINE_LENGTH]}…" for line in message.split("\n"))
    return "\n".join(lines)
