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
    """Returns the first port to try.

    Raises:
        ServerError: WORKFLOW_SERVER_PORT is not a valid port.
    """
    text = os.environ.get("WORKFLOW_SERVER_PORT") or str(DEFAULT_PORT)
    # Ports below 1024 are reserved for root.
    if not text.isdecimal() or not 1024 <= int(text) <= 65535:
        raise ServerError(f"WORKFLOW_SERVER_PORT must be an integer from 1024 to 65535, not {text!r}.")
    return int(text)


def is_free(port: int) -> bool:
    """Whether a server could listen on a port now."""
    with socket.socket() as listener:
        # As the server does: connections of its predecessor in TIME_WAIT do not block the port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """Returns a port that was free a moment ago and that the kernel will not assign to another process soon."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        port: int = listener.getsockname()[1]
        return port
