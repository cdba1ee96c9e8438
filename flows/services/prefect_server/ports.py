"""The ports on which the project's own server can listen."""

import os
import socket

from flows.environment.settings import (
    LOOPBACK,
    ServerError,
)

DEFAULT_PORT = 4200


PORTS_TRIED = 100


def first_port() -> int:
    """The first port to try.

    Raises:
        ServerError: WORKFLOW_SERVER_PORT is no port.
    """
    text = os.environ.get("WORKFLOW_SERVER_PORT") or str(DEFAULT_PORT)
    # Below 1024 an ordinary user may not listen.
    if not text.isdecimal() or not 1024 <= int(text) <= 65535:
        raise ServerError(f"WORKFLOW_SERVER_PORT must be a whole number from 1024 to 65535, not {text!r}.")
    return int(text)


def is_free(port: int) -> bool:
    """Whether a server could listen on a port now."""
    with socket.socket() as listener:
        # As the server does: connections of its predecessor that are still winding down do not take the port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """A port that was free a moment ago, and that the kernel gives nobody else soon."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        port: int = listener.getsockname()[1]
        return port
