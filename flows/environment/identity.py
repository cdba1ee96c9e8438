"""The identity of a store, which distinguishes it from other stores that report to the same Prefect server.

Everything that several stores share on a server names its store: flow runs and deployments by a tag, events by a label.
A store keeps its identity when its folder is renamed or moved within a file system. A copy is another store: the file
with the identity records its own inode and that of the project's folder, and in a copy both differ.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

from flows.environment.settings import prefect_home
from tasks.caching.locking.lock import locked_folder
from tasks.caching.storage.durable import temporary_file
from tasks.caching.storage.errors import naming_folder

#: Prefix of the tag that names the store of a flow run or a deployment.
PREFIX = "store-"

#: The tag of deployments that `prefect deploy` creates from prefect.yaml, which does not know the store of its runs.
ANY_STORE = "any-store"


def identity(root: Path) -> str:
    """Returns the identity of a project's store; creates it on first use.

    Args:
        root: Of the project.

    Raises:
        OSError: It cannot be written; names the folder.
    """
    path = prefect_home(root) / "store.json"
    return read_identity(path) or make_identity(path)


def read_identity(path: Path) -> str | None:
    """Returns the identity in a file; None if there is none, if it is invalid, or if the file was copied."""
    try:
        with path.open("rb") as file:
            found = json.loads(file.read())
            inodes = inodes_of(path, file.fileno())
    except (OSError, ValueError, RecursionError):
        return None
    known = isinstance(found, dict) and isinstance(found.get("store"), str) and found.get("inodes") == inodes
    return str(found["store"]) if known else None


def make_identity(path: Path) -> str:
    """Creates the identity of a store, unless another process has just done so."""
    with naming_folder(path.parent):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked_folder(path.parent):
            if found := read_identity(path):
                return found
            made = uuid4().hex[:12]
            with temporary_file(path.parent) as draft, draft.open("wb") as file:
                content = {"store": made, "inodes": inodes_of(path, file.fileno())}
                file.write(json.dumps(content).encode())
                file.flush()
                os.fsync(file.fileno())
                draft.replace(path)
            return made


def inodes_of(path: Path, descriptor: int) -> list[int]:
    """Returns what differs in a copy of the file: its own inode and that of the project's folder."""
    return [os.fstat(descriptor).st_ino, path.parent.parent.stat().st_ino]


def store_tag(root: Path) -> str:
    """Returns the tag of flow runs and deployments of a project's store."""
    return identity_tag(identity(root))


def identity_tag(of_store: str) -> str:
    """Returns the tag of flow runs, deployments and alerts of the store with an identity."""
    return f"{PREFIX}{of_store}"


def is_ours(tags: Iterable[str], root: Path) -> bool:
    """Whether tags name this project's store, or no store at all."""
    stores = [tag for tag in tags if tag.startswith(PREFIX)]
    return not stores or store_tag(root) in stores
