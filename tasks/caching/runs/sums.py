"""SHA256SUMS in a run folder: the digest of every file that was saved there, as `sha256sum --check` takes them.

The manifest names the digests of the other files, and the record of the save those of the manifest and the report as
well. But a record is that of the newest run with its key, and can be deleted: the list lasts as long as the folder.
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
    """The list for files, given by name with their content."""
    lines = (f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items()))
    return "".join(lines).encode()


def find_altered(store: Store, run: str, names: AbstractSet[str]) -> dict[str, str]:
    """What is wrong with the files of a run by its list, in words by the name of the file; empty if nothing is.

    Args:
        store: where the run lies.
        run: its name.
        names: of the files that must be listed.

    Raises:
        OSError: no file can be read now, whichever it is.
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
    # The names are taken from the manifest: the list is wrong about them only if it is right about the manifest.
    if not altered and (None in entries or digests.keys() != names):
        return {SUMS: "it is no list of the digests of this run's files"}
    return altered


def rebuilt(store: Store, run: str, names: AbstractSet[str]) -> bytes:
    """The list as it would be if it were made of a run's files as they are now.

    Args:
        store: where the run lies.
        run: its name.
        names: of the files that it lists.

    Raises:
        FileNotFoundError: one of them is gone.
        OSError: one cannot be read.
    """
    digests = {name: file_digest(store.locate(run_path(run, name))) for name in sorted(names)}
    return "".join(f"{digest}  {name}\n" for name, digest in digests.items()).encode()


def is_altered(store: Store, run: str, name: str) -> bool:
    """Whether a file of a run is another one than its list says.

    Raises:
        FileNotFoundError: the file is gone, or the list.
        UnusableFileError: the file or the list cannot be read.
        OSError: no file can be read now, whichever it is.
    """
    lines = read_file(store.locate(run_path(run, SUMS))).splitlines()
    digest = hashlib.sha256(read_file(store.locate(run_path(run, name)))).hexdigest()
    return f"{digest}  {name}".encode() not in lines


def what_is_wrong(store: Store, path: str, digest: str) -> str:
    """What is wrong with a file, in words; empty if it has its digest."""
    try:
        store.path(Reference(path, digest, store.locate(path).lstat().st_size, ""))
    except FileNotFoundError:
        return f"artifact missing: {path}"
    except DamagedArtifactError as error:
        return str(error)
    return ""
