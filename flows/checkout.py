"""Whether a command belongs to the checkout that it is started from.

A `.venv` that is copied with a project still runs the code of the original, on the original's store and server, while
the relative paths that it prints look like those of the copy.
"""

from pathlib import Path

from flows.problems import InputError

#: The folder that this code lies in.
PROJECT = Path(__file__).resolve().parents[1]


def require_same_checkout(script: Path) -> None:
    """Checks that a script in the `.venv` of a checkout runs the code of that checkout.

    Args:
        script: path of the command that was started.

    Raises:
        InputError: it runs the code of another one.
    """
    checkout = script.absolute().parent.parent.parent
    if (checkout / "flows" / "cli.py").is_file() and not PROJECT.is_relative_to(checkout.resolve()):
        raise InputError(
            f"{script} runs the code in {PROJECT}, for which its .venv was made, and would act on the runs there. "
            f"Run `make install` in {checkout} to make one for this folder"
        )
