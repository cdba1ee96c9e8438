"""Problems that a person can mend: one message each, no traceback, exit code 2."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

#: Problems that are named in one message, at most.
MOST_PROBLEMS = 30

#: Letters that a line of a message has, at most.
MOST_LETTERS = 1000


class InputError(Exception):
    """What was asked for cannot be done as asked; the message says why and what to do."""


def list_problems(error: "ValidationError", source: str, kind: str = "experiment") -> InputError:
    """All problems of a configuration as one message, a line each, naming the fields.

    Args:
        error: from pydantic.
        source: what was validated, for example a file's path.
        kind: what it was validated as.
    """
    lines, problems = [], error.errors(include_url=False)
    for problem in problems[:MOST_PROBLEMS]:
        field = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "unknown field"
        elif problem["type"] == "string_pattern_mismatch":
            message = f"{shown(problem['input'])} is not of its form, which `workflow train --help` describes"
        elif problem["type"] != "value_error":
            message = f"{message[0].lower()}{message[1:]} (got {shown(problem['input'])})"
        lines.append(f"{field}: {message}" if field else message)
    if len(problems) > MOST_PROBLEMS:
        lines.append(f"and {len(problems) - MOST_PROBLEMS:,} more")
    return InputError("\n  ".join([f"{source} is not a valid {kind}:", *lines]))


def shown(value: object) -> str:
    """A value as it was written, as far as it can be."""
    try:
        return repr(value)
    except ValueError:
        return "a number with too many digits"


def clipped(message: str) -> str:
    """A message without the rest of lines that nobody reads to their end, such as a value of a million letters."""
    lines = (line if len(line) <= MOST_LETTERS else f"{line[:MOST_LETTERS]}…" for line in message.split("\n"))
    return "\n".join(lines)
