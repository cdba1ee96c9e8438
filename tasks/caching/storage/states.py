"""Resumable states: where a stage that was killed goes on, in place of beginning anew.

They lie at artifacts/states/<stage>/<key>/<step>-<SHA-256>.pth and are published as artifacts are: a state is there
whole or not at all, and its name vouches for its bytes. Since the stage's key is in its path, a state is offered only
to a stage with the very same settings, inputs, code and libraries. It is removed once the stage has a record.
"""

import contextlib
import hashlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tasks.caching.storage.durable import Content, ensure_folder, fsync_folder, temporary_file, write_durably
from tasks.caching.storage.store import Store, UnusableFileError, read_file
from tasks.caching.storage.trouble import tell_error

#: States kept of a stage: should the newest be damaged, there is the one before.
GENERATIONS = 2

NAME = re.compile(r"(?P<step>\d{12})-(?P<digest>[0-9a-f]{64})\.pth")


class States:
    """The resumable states of one stage under one key."""

    def __init__(self, store: Store, stage: str, key: str) -> None:
        self.key = key
        self._store = store
        self._folder = store.artifacts / "states" / stage / key

    def keep(self, step: int, content: Content) -> None:
        """Publishes a state, and removes those before the last two.

        Args:
            step: how far the stage has come, in whatever it counts; above that of every state before.
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
        """Each state from the newest on, with its bytes; None in their place if they are not what the name says."""
        for path in self._newest_first():
            yield path, whole_content(path)

    def set_aside(self, state: Path) -> str:
        """Moves a state that cannot be used out of the way; returns where, relative to the root."""
        return self._store.set_aside(state)

    def clear(self) -> None:
        """Removes every state: the stage has its record, or is to begin anew."""
        for path in self._newest_first():
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # there was none, or another run is writing one
            self._folder.rmdir()

    def _newest_first(self) -> list[Path]:
        with contextlib.suppress(FileNotFoundError):
            return sorted((path for path in self._folder.iterdir() if NAME.fullmatch(path.name)), reverse=True)
        return []


class Checkpointer:
    """What a stage's work keeps its states with; says so when it resumes from one, or cannot."""

    def __init__(
        self,
        states: States,
        notice: Callable[[str], None],
        is_interrupted: Callable[[], bool],
        resume: Callable[[int, str], None] = lambda step, where: None,
    ) -> None:
        self.owner = states.key
        self.is_interrupted = is_interrupted
        self._states, self._notice, self._resume = states, notice, resume
        self._offered: Path | None = None

    def keep(self, step: int, content: Content) -> None:
        """Keeps a state; see `States.keep`. One that cannot be written is told and done without."""
        try:
            self._states.keep(step, content)
        except OSError as error:
            self._notice(f"how far it has come could not be kept: {tell_error(error)}")

    def states(self) -> Iterator[bytes]:
        """The states that there are, the newest first; those that are damaged are set aside."""
        for path, content in self._states.newest():
            self._offered = path
            if content is None:
                self.refuse("it is damaged")
            else:
                yield content

    def refuse(self, why: str) -> None:
        """Sets the state given last aside."""
        if self._offered is not None:
            place = self._states.set_aside(self._offered)
            self._notice(f"a resumable state was not used and is now in {place}: {why}")

    def resumed(self, where: str) -> None:
        """Says that the work resumes from the state given last, and in words where that is."""
        if self._offered is not None:
            self._resume(step_of(self._offered), where)


def step_of(path: Path) -> int:
    """How far a stage had come in a state, as its name says."""
    return int(path.name.partition("-")[0])


def whole_content(path: Path) -> bytes | None:
    """The bytes of a state; None if it is gone, is no plain file, or its bytes are not the ones that its name tells."""
    try:
        content = read_file(path, most=sys.maxsize)
    except (FileNotFoundError, UnusableFileError):
        return None
    named = NAME.fullmatch(path.name)
    return content if named and hashlib.sha256(content).hexdigest() == named["digest"] else None
