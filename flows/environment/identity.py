"""Which store this is: what tells it from others that report to the same Prefect server.

Everything that several stores share through a server names its store: flow runs and deployments by a tag, events by a
label. A store keeps its identity when its folder is renamed or moved on the same file system. A copy is another store:
the file that holds the identity names its own inode and that of the folder, which a copy does not have.
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

#: How the tag begins that names the store of a flow run or a deployment.
PREFIX = "store-"

#: The tag of what `prefect deploy` made from prefect.yaml, which does not know in which store its runs will be.
ANY_STORE = "any-store"


def identity(root: Path) -> str:
    """What names the store of a project; made when it is first asked for.

    Args:
        root: of the project.

    Raises:
        OSError: it cannot be written; names the folder.
    """
    path = prefect_home(root) / "store.json"
    return read_identity(path) or make_identity(path)


def read_identity(path: Path) -> str | None:
    """The identity in a file; None if there is none, if it is garbage, or if the file was copied."""
    try:
        with path.open("rb") as file:
            found = json.loads(file.read())
            inodes = inodes_of(path, file.fileno())
    except (OSError, ValueError, RecursionError):
        return None
    known = isinstance(found, dict) and isinstance(found.get("store"), str) and found.get("inodes") == inodes
    return str(found["store"]) if known else None


def make_identity(path: Path) -> str:
    """Gives a store an identity, unless another process has just done so."""
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
    """What a copy of the file has otherwise: its own inode, and that of the project's folder."""
    return [os.fstat(descriptor).st_ino, path.parent.parent.stat().st_ino]


def store_tag(root: Path) -> str:
    """The tag of flow runs and deployments of a project's store."""
    return f"{PREFIX}{identity(root)}"


def is_ours(tags: Iterable[str], root: Path) -> bool:
    """Whether tags are of this project's store, or of none in particular."""
    stores = [tag for tag in tags if tag.startswith(PREFIX)]
    return not stores or store_tag(root) in stores
