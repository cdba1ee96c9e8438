"""Problems that a person can mend: one message each, no traceback, exit code 2."""

from pydantic import ValidationError


class InputError(Exception):
    """What was asked for cannot be done as asked; the message says why and what to do."""


def list_problems(error: ValidationError, source: str, kind: str = "experiment") -> InputError:
    """All problems of a configuration as one message, a line each, naming the fields.

    Args:
        error: from pydantic.
        source: what was validated, for example a file's path.
        kind: what it was validated as.
    """
    lines = []
    for problem in error.errors(include_url=False):
        field = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "unknown field"
        elif problem["type"] == "string_pattern_mismatch":
            message = f"{problem['input']!r} is not of its form, which `workflow train --help` describes"
        elif problem["type"] != "value_error":
            message = f"{message[0].lower()}{message[1:]} (got {problem['input']!r})"
        lines.append(f"{field}: {message}" if field else message)
    return InputError("\n  ".join([f"{source} is not a valid {kind}:", *lines]))
