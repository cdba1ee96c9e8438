"""Stage checkpoints: what a stage keeps while it runs, so that a later process can resume it after a kill.

They lie at artifacts/states/<stage>/<key>/<step>-<SHA-256>.pth and are published as artifacts are: one is there
complete or not at all, and its name has the digest of its bytes. Since the stage's key is in its path, only a stage
with the same settings, inputs, code and libraries finds it. It is removed once the stage has a record.
"""

import contextlib
import hashlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tasks.caching.storage.durable import Content, ensure_folder, fsync_folder, temporary_file, write_durably
from tasks.caching.storage.errors import describe_error
from tasks.caching.storage.store import Store, UnusableFileError, read_file

#: Stage checkpoints kept: if the newest is damaged, the one before it is used.
GENERATIONS = 2

NAME = re.compile(r"(?P<step>\d{12})-(?P<digest>[0-9a-f]{64})\.pth")


class StageCheckpoints:
    """The stage checkpoints of one stage under one key."""

    def __init__(self, store: Store, stage: str, key: str) -> None:
        self.key = key
        self._store = store
        self._folder = store.artifacts / "states" / stage / key

    def keep(self, step: int, content: Content) -> None:
        """Publishes a stage checkpoint, and removes all but the last two.

        Args:
            step: how far the stage has come, in a unit of its own; larger than that of every earlier one.
            content: as for `Store.publish`.
        """
        ensure_folder(self._folder)
        with temporary_file(self._folder) as temporary:
            digest, _ = write_durably(temporary, content)
            temporary.replace(self._folder / f"{step:012d}-{digest}.pth")
        fsync_folder(self._folder)
        for old in self._newest_first()[GENERATIONS:]:
            old.unlink(missing_ok=True)

    def newest(self) -> Iterator[tuple[Path, bytes | None]]:
        """Each one, the newest first, with its bytes; None instead of the bytes if they do not have the digest."""
        for path in self._newest_first():
            yield path, whole_content(path)

    def set_aside(self, checkpoint: Path) -> str:
        """Moves a stage checkpoint that cannot be used to artifacts/set-aside; returns where, relative to the root."""
        return self._store.set_aside(checkpoint)

    def clear(self) -> None:
        """Removes every stage checkpoint: the stage has its record, or is to start over."""
        for path in self._newest_first():
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # there was none, or another run is writing one
            self._folder.rmdir()

    def _newest_first(self) -> list[Path]:
        with contextlib.suppress(FileNotFoundError):
            return sorted((path for path in self._folder.iterdir() if NAME.fullmatch(path.name)), reverse=True)
        return []


class StageCheckpointer:
    """Keeps the stage checkpoints for a stage's function, and reports when it resumes from one, or cannot."""

    def __init__(
        self,
        checkpoints: StageCheckpoints,
        notice: Callable[[str], None],
        is_interrupted: Callable[[], bool],
        resume: Callable[[int, str], None] = lambda step, where: None,
    ) -> None:
        self.owner = checkpoints.key
        self.is_interrupted = is_interrupted
        self._checkpoints, self._notice, self._resume = checkpoints, notice, resume
        self._yielded: Path | None = None

    def keep(self, step: int, content: Content) -> None:
        """Keeps a stage checkpoint, as `StageCheckpoints.keep`; if it cannot be written, reports that and continues."""
        try:
            self._checkpoints.keep(step, content)
        except OSError as error:
            self._notice(f"its progress could not be saved: {describe_error(error)}")

    def newest_first(self) -> Iterator[bytes]:
        """The usable stage checkpoints; damaged ones are set aside."""
        for path, content in self._checkpoints.newest():
            self._yielded = path
            if content is None:
                self.refuse("it is damaged")
            else:
                yield content

    def refuse(self, why: str) -> None:
        """Sets aside the stage checkpoint that was yielded last."""
        if self._yielded is not None:
            place = self._checkpoints.set_aside(self._yielded)
            self._notice(f"a stage checkpoint was not used and is now in {place}: {why}")

    def resumed(self, where: str) -> None:
        """Reports that the work resumes from the stage checkpoint yielded last, and in words where that is."""
        if self._yielded is not None:
            self._resume(step_of(self._yielded), where)


def step_of(path: Path) -> int:
    """How far a stage had come when it kept a stage checkpoint, as its name says."""
    return int(path.name.partition("-")[0])


def whole_content(path: Path) -> bytes | None:
    """Its bytes; None if it is gone, no plain file, or its bytes do not have the digest in its name."""
    try:
        content = read_file(path, most=sys.maxsize)
    except (FileNotFoundError, UnusableFileError):
        return None
    named = NAME.fullmatch(path.name)
    return content if named and hashlib.sha256(content).hexdigest() == named["digest"] else None
