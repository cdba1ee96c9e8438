"""SHA256SUMS in a run folder: the digest of every file that was saved there, in the format of `sha256sum --check`.

The manifest has the digests of the other files, and the record of stage save has those of the manifest and the report
as well. But a record is that of the newest run with its key, and can be deleted: the list lasts as long as the folder.
"""

import hashlib
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from tasks.caching.storage.reference import Reference
from tasks.caching.storage.store import DamagedArtifactError, Store, UnusableFileError, file_digest, read_file, run_path

#: Name of the list in the run folder.
SUMS = "SHA256SUMS"

#: Where `ssh-keygen -Y sign` puts a signature of the list; a run need not have one.
SIGNATURE = f"{SUMS}.sig"

LINE = re.compile(r"(?P<digest>[0-9a-f]{64})  (?P<name>[^\n]+)\n")


def list_sums(files: Mapping[str, bytes]) -> bytes:
    """The list for files, which are given by name with their content."""
    lines = (f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items()))
    return "".join(lines).encode()


def find_altered(store: Store, run: str, names: AbstractSet[str]) -> dict[str, str]:
    """Compares the files of a run with its list; returns what is wrong with each altered file, by its name.

    Args:
        store: where the run lies.
        run: its name.
        names: of the files that must be listed.

    Raises:
        OSError: this process can open no more files.
    """
    path = run_path(run, SUMS)
    try:
        text = read_file(store.locate(path)).decode()
    except FileNotFoundError:
        return {SUMS: f"artifact missing: {path}"}
    except (UnusableFileError, ValueError) as error:
        return {SUMS: f"the list of digests cannot be read: {error}"}
    entries = [LINE.fullmatch(line) for line in text.splitlines(keepends=True)]
    digests = {entry["name"]: entry["digest"] for entry in entries if entry}
    found = ((name, what_is_wrong(store, run_path(run, name), digests[name])) for name in names & digests.keys())
    altered = {name: wrong for name, wrong in found if wrong}
    # The names come from the manifest: they count against the list only if it has the digest of the manifest.
    if not altered and (None in entries or digests.keys() != names):
        return {SUMS: "it is not a list of the digests of this run's files"}
    return altered


def rebuilt(store: Store, run: str, names: AbstractSet[str]) -> bytes:
    """The list made from a run's files as they are now.

    Args:
        store: where the run lies.
        run: its name.
        names: of the files that it lists.

    Raises:
        FileNotFoundError: a file is gone.
        OSError: a file cannot be read.
    """
    digests = {name: file_digest(store.locate(run_path(run, name))) for name in sorted(names)}
    return "".join(f"{digest}  {name}\n" for name, digest in digests.items()).encode()


def is_altered(store: Store, run: str, name: str) -> bool:
    """Whether a file of a run does not have the digest in the list.

    Raises:
        FileNotFoundError: the file or the list is gone.
        UnusableFileError: the file or the list cannot be read.
        OSError: this process can open no more files.
    """
    lines = read_file(store.locate(run_path(run, SUMS))).splitlines()
    digest = hashlib.sha256(read_file(store.locate(run_path(run, name)))).hexdigest()
    return f"{digest}  {name}".encode() not in lines


def what_is_wrong(store: Store, path: str, digest: str) -> str:
    """Describes what is wrong with a file; empty if it has its digest."""
    try:
        store.path(Reference(path, digest, store.locate(path).lstat().st_size, ""))
    except FileNotFoundError:
        return f"artifact missing: {path}"
    except DamagedArtifactError as error:
        return str(error)
    return ""
