"""What a training in a process of its own reports to the process that started it: lines of JSON on standard output."""

import sys
from typing import Literal, TextIO

from pydantic import BaseModel

from tasks.caching.observer import Observer


class Resumed(BaseModel):
    """A stage has resumed from the checkpoint that an earlier process has left.

    Attributes:
        kind: of message.
        stage: that resumed.
        step: of that checkpoint.
    """

    kind: Literal["resumed"] = "resumed"
    stage: str
    step: int


class MessageWriter(Observer):
    """Writes a message for what the other process has to know."""

    def __init__(self, stream: TextIO = sys.stdout) -> None:
        self._stream = stream

    def on_resume(self, stage: str, step: int, where: str) -> None:
        """Writes where the stage resumes; at once, since this process may be killed."""
        self._stream.write(f"{Resumed(stage=stage, step=step).model_dump_json()}\n")
        self._stream.flush()


def read_messages(text: str) -> list[Resumed]:
    """The messages in what a process wrote.

    Raises:
        ValidationError: a line is none.
    """
    return [Resumed.model_validate_json(line) for line in text.splitlines()]
