"""What a document shows of the terminal: its `console` blocks, to be compared with what the commands print.

A block is run unless a comment `<!-- not run: WHY -->` stands before it. In what it shows, `…` stands for anything, and
what differs from run to run (seconds, names of runs, digests, sizes, addresses) need not be the same.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

BLOCK = re.compile(r"(?P<comment><!-- not run: .+? -->\n)?```console\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)

#: What differs from run to run, and what takes its place.
VARYING = {
    r"\bhttp://127\.0\.0\.1:\S+": "ADDRESS",
    r"\b(?:line|nightly)-\d{8}-\d{6}(?:-\d+)?\b": "RUN",
    r"\b[0-9a-f]{64}\b|\b[0-9a-f]{12}\b": "DIGEST",
    r"\b[\d,.]+ (?:bytes|kB|MB)": "SIZE",
    r"\b\d+\.\d\d s\b": "SECONDS",
    r" +": " ",
}

#: What is printed of the surroundings, and only where they are not there yet.
SETUP = ("making .venv", "Starting the project's Prefect server", "The Prefect UI is at ")


@dataclass(frozen=True)
class Transcript:
    """A block of a document.

    Attributes:
        text: commands, each after `$ `, with the lines that they print.
        line: of the document, where the text begins; from 1.
    """

    text: str
    line: int

    def commands(self) -> Iterator[tuple[list[str], list[str]]]:
        """The words of each command, and the lines that it should print."""
        for part in re.split(r"^\$ ", self.text, flags=re.MULTILINE)[1:]:
            command, *lines = part.splitlines()
            yield words_of(command), lines

    def renewed(self, printed: list[list[str]]) -> str:
        """The text with what the commands printed now; as it is where `…` leaves something out."""
        parts = re.split(r"^(?=\$ )", self.text, flags=re.MULTILINE)[1:]
        return "".join(map(renewed_part, parts, printed))


def transcripts(document: str) -> list[Transcript]:
    """The blocks of a document that are to be run, in order."""
    return [
        Transcript(found["text"], document.count("\n", 0, found.start("text")) + 1)
        for found in BLOCK.finditer(document)
        if not found["comment"]
    ]


def words_of(command: str) -> list[str]:
    """What comes after `workflow` in a command."""
    program, *words = shlex.split(command, comments=True)
    if [program, *words] == ["make", "run"]:
        return ["train", "line", "--verify"]
    if program != "workflow":
        raise ValueError(f"{command!r} is no command of ours: say before its block why it is not run")
    return words


def is_shown(printed: list[str], lines: list[str]) -> bool:
    """Whether lines of a document show what was printed."""
    shown = "\n".join(map(masked, filter(is_of_the_command, lines)))
    pattern = ".*".join(map(re.escape, shown.split("…")))
    return re.fullmatch(pattern, "\n".join(map(masked, printed)), re.DOTALL) is not None


def masked(line: str) -> str:
    """A line without what differs from run to run."""
    for pattern, place in VARYING.items():
        line = re.sub(pattern, place, line)
    return line.rstrip()


def is_of_the_command(line: str) -> bool:
    """Whether a line is printed by a command wherever it is run."""
    return not line.startswith(SETUP)


def renewed_part(part: str, printed: list[str]) -> str:
    """A command and what it printed now."""
    command, *lines = part.splitlines()
    if "…" in part:
        return part
    setup = [line for line in lines if not is_of_the_command(line)]
    return "\n".join((command, *setup, *(line.rstrip() for line in printed), ""))
