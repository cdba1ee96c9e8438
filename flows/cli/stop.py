"""`python3 -m flows.cli.stop`: what `workflow server stop` does, with the standard library alone.

So `make stop` and `make clean` work in a folder whose .venv is missing, broken, or was moved.
"""

import sys

from flows.environment.settings import ServerError
from flows.errors import InputError
from flows.services.stop import stop
from tasks.caching.storage.errors import describe_error
from tasks.caching.storage.store import project_store


def main() -> None:
    """Ends what the project of this checkout has running; exits with 1 if something does not end."""
    try:
        for line in stop(project_store().root):
            sys.stdout.write(f"{line}\n")
    except (ServerError, InputError, OSError) as error:
        sys.exit(f"error: {describe_error(error)}")


if __name__ == "__main__":
    main()
