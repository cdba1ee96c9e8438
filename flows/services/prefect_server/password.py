"""The password of the project's own Prefect server: one that the user has set, or else a random one kept in `.prefect`.

The random one is also the key of proofs and addresses that only this project can make, whichever password counts.
"""

import hashlib
import hmac
import os
from pathlib import Path

from flows.environment.settings import ServerError
from tasks.caching.locking.lock import locked_folder
from tasks.caching.storage.durable import temporary_file

#: Where a user may set the password, the first that is set.
VARIABLES = ("PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING")

#: The user's name of HTTP's basic authentication, for programs such as curl that insist on one; it means nothing here.
USER = "workflow"

RANDOM_BYTES = 32


def secret_path(home: Path) -> Path:
    """The file with the random password, for its owner's eyes only."""
    return home / "password"


def read_secret(home: Path) -> str | None:
    """The random password; None if none has been made yet.

    Raises:
        ServerError: the file holds none.
        OSError: it cannot be read.
    """
    path = secret_path(home)
    try:
        secret = path.read_bytes().decode("ascii", "replace").strip()
    except FileNotFoundError:
        return None
    if not secret or not secret.isascii():
        raise ServerError(f"{path} holds no password. Remove it, and `workflow server stop`: the next start makes one.")
    return secret


def make_secret(home: Path) -> str:
    """The random password, made if there is none yet; whichever process comes first makes it for all.

    Raises:
        ServerError: the file holds none.
        OSError: it cannot be read or written.
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
    """A password that nobody can guess."""
    import secrets

    return f"{USER}:{secrets.token_urlsafe(RANDOM_BYTES)}"


def write_private(path: Path, text: str) -> None:
    """Puts a text into a file that nobody but its owner can read at any moment; durably and atomically.

    Raises:
        OSError: it cannot be written.
    """
    with temporary_file(path.parent) as draft:
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)


def chosen_password() -> str | None:
    """The password that the user has set in the environment; None if none is.

    Raises:
        ServerError: Prefect's server cannot compare it.
    """
    for name in VARIABLES:
        if password := os.environ.get(name):
            if not password.isascii():
                raise ServerError(
                    f"{name} has a character outside ASCII, which Prefect cannot compare: choose another password."
                )
            return password
    return None


def own_password(home: Path) -> str:
    """The password of the project's own server.

    Raises:
        ServerError: it cannot be used.
        OSError: it cannot be read or written.
    """
    return chosen_password() or make_secret(home)


def signed(secret: str, *words: str) -> str:
    """What only those who know the secret can make of some words."""
    return hmac.new(secret.encode(), "\0".join(words).encode(errors="surrogateescape"), hashlib.sha256).hexdigest()


def server_proof(secret: str, home: Path, password: str, challenge: str) -> str:
    """What the server answers to a challenge: it shows, without telling, whose it is and which password it asks for."""
    return signed(secret, "server", str(home), password, challenge)
