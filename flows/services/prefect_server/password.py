"""The password of the project's own Prefect server: the user's, or else a random one stored in `.prefect`.

The random one also signs proofs and paths that only this project can create, whichever password is in use.
"""

import hashlib
import hmac
import os
from pathlib import Path

from flows.environment.settings import ServerError
from tasks.caching.locking.lock import locked_folder
from tasks.caching.storage.durable import temporary_file

#: The variables in which a user may set the password; the first one set is used.
VARIABLES = ("PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING")

#: The user name for HTTP basic authentication, which programs such as curl require; it has no meaning here.
USER = "workflow"

RANDOM_BYTES = 32


def secret_path(home: Path) -> Path:
    """Returns the file with the random password, readable by its owner only."""
    return home / "password"


def read_secret(home: Path) -> str | None:
    """Returns the random password; None if there is none yet.

    Raises:
        ServerError: The file contains no password.
        OSError: It cannot be read.
    """
    path = secret_path(home)
    try:
        secret = path.read_bytes().decode("ascii", "replace").strip()
    except FileNotFoundError:
        return None
    if not secret or not secret.isascii():
        raise ServerError(
            f"{path} contains no password. Remove it and run `workflow server stop`: the next start creates one."
        )
    return secret


def ensure_secret(home: Path) -> str:
    """Returns the random password, creating it if needed; concurrent processes agree on one.

    Raises:
        ServerError: The file contains no password.
        OSError: It cannot be read or written.
    """
    if (kept := read_secret(home)) is not None:
        return kept
    with locked_folder(home):
        if (kept := read_secret(home)) is not None:
            return kept
        made = random_password()
        write_private(secret_path(home), made)
        return made


def random_password() -> str:
    """Returns a new random password."""
    import secrets

    return f"{USER}:{secrets.token_urlsafe(RANDOM_BYTES)}"


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner can ever read; durably and atomically.

    Raises:
        OSError: It cannot be written.
    """
    with temporary_file(path.parent) as draft:
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)


def configured_password() -> str | None:
    """Returns the password that the user has set in the environment; None if there is none.

    Raises:
        ServerError: Prefect's server cannot compare it.
    """
    for name in VARIABLES:
        if password := os.environ.get(name):
            if not password.isascii():
                raise ServerError(
                    f"{name} contains a character outside ASCII, which Prefect cannot compare: choose another password."
                )
            return password
    return None


def own_password(home: Path) -> str:
    """Returns the password of the project's own server.

    Raises:
        ServerError: It cannot be used.
        OSError: It cannot be read or written.
    """
    return configured_password() or ensure_secret(home)


def sign(secret: str, *parts: str) -> str:
    """Returns a signature of words that only holders of the secret can create."""
    return hmac.new(secret.encode(), "\0".join(parts).encode(errors="surrogateescape"), hashlib.sha256).hexdigest()


def server_proof(secret: str, home: Path, password: str, port: int, challenge: str) -> str:
    """Returns the server's response to a challenge: it proves whose server it is and which password it asks for.

    It is valid for the server's own port only: a program on another port cannot relay the challenge to the server.
    """
    return sign(secret, "server", str(home), password, str(port), challenge)
