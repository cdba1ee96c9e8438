"""What a store holds, and what of it must still be there after commands were killed."""

import itertools
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from tasks.caching.records import read_record
from tasks.caching.runs.manifest import MANIFEST, Manifest, ManifestError
from tasks.caching.storage.store import file_digest
from tests.flows.conftest import STAGES

#: How a place among what was set aside begins, before the path of what lies there.
SET_ASIDE = re.compile(r"artifacts/set-aside/[^/]+/")

#: What flows may replace: what was used last, by whatever name, the outcome of a verification, the store's place.
REPLACED = re.compile(rf"({SET_ASIDE.pattern})?artifacts/(records/.+|runs/[^/]+/verification\.json)|data/\.store")


#: Where nothing lies that is to last.
PASSING = ("artifacts/records/locks/", "artifacts/states/", "artifacts/saved/")


class Inventory:
    """What a store holds when it is taken.

    Attributes:
        home: the store.
        contents: the digest of every file by its path; see `contents_of`.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.contents = contents_of(home)
        self._runs = {manifest.run: manifest for manifest in manifests(home)}
        self._pointed = {link.readlink().name for link in home.glob("artifacts/runs/*") if link.is_symlink()}
        self._belongings = {run: belongings(manifest, home) for run, manifest in self._runs.items()}

    @property
    def runs(self) -> list[str]:
        """The names of the runs, oldest first."""
        return sorted(self._runs, key=lambda run: (self._runs[run].created, run))

    def newest_runs(self) -> dict[str, str]:
        """The newest run of each experiment."""
        return {self._runs[run].experiment["name"]: run for run in self.runs}

    def gone(self, after: "Inventory") -> set[str]:
        """The paths of the files that are not there any more."""
        return self.contents.keys() - after.contents.keys()

    def lost(self, after: "Inventory", commands: Collection[str]) -> set[str]:
        """What is gone or altered that was to stay.

        Args:
            after: what the store holds now.
            commands: the first words of those that have worked meanwhile.
        """
        there = {(SET_ASIDE.sub("", path), digest) for path, digest in after.contents.items()} | after.contents.items()
        stays = self._kept(after, commands) if "collect" in commands else self.contents.keys()
        return {path for path in stays if (path, self.contents[path]) not in there}

    def dangling(self) -> set[str]:
        """What a run or a record names that is not there, or has other bytes; found without an inspection."""
        files = (self.home.glob(f"artifacts/records/{stage}/*.json") for stage in STAGES)
        records = [read_record(path) for path in itertools.chain.from_iterable(files)]
        named = {made.path: made.digest for record in records for made in record.outputs.values()}
        for manifest in self._runs.values():
            made = [entry for stage in manifest.stages for entry in stage.outputs.values()]
            named |= {entry.path: entry.digest for entry in (*manifest.files.values(), *made)}
        return {path for path, digest in named.items() if self.contents.get(path) != digest}

    def _kept(self, after: "Inventory", commands: Collection[str]) -> set[str]:
        """What a collection leaves that keeps the last run of each experiment."""
        now = after.newest_runs()
        # Where a training has made a new run, the one that was the newest may go; and it lets pointers point elsewhere.
        newest = {run for experiment, run in self.newest_runs().items() if now.get(experiment, run) in self._runs}
        pointed = self._pointed & self._runs.keys() if "train" not in commands else set()
        kept = set().union(*(self._belongings[run] for run in newest | pointed))
        return self.contents.keys() & kept


def contents_of(home: Path) -> dict[str, str]:
    """The digest of every file in a store by its path, or nothing of one that may be replaced.

    Without links, and without what is not to last: temporaries, locks, the states of trainings, and the empty files
    that note which runs were saved.
    """
    found = (path for top in ("data", "artifacts") for path in (home / top).rglob("*"))
    files = {str(path.relative_to(home)): path for path in found if path.is_file() and not path.is_symlink()}
    return {
        name: "" if REPLACED.fullmatch(name) else file_digest(path)
        for name, path in files.items()
        if ".tmp-" not in name and not name.startswith(PASSING)
    }


def belongings(manifest: Manifest, home: Path) -> set[str]:
    """The paths of the files of a run, and of the records and artifacts that it was made of."""
    folder = home / "artifacts/runs" / manifest.run
    files = {str(path.relative_to(home)) for path in folder.rglob("*")}
    made = {entry.path for stage in manifest.stages for entry in stage.outputs.values()}
    return files | made | {f"artifacts/records/{stage.name}/{stage.key}.json" for stage in manifest.stages}


def manifests(home: Path) -> Iterator[Manifest]:
    """The manifests of all runs that have one which can be read."""
    for path in sorted(home.glob(f"artifacts/runs/[!.]*/{MANIFEST}")):
        if not path.parent.is_symlink():
            try:
                yield Manifest.read(path.parent)
            except ManifestError:
                continue
