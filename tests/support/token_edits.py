"""Edits of single tokens, and what the stages make after one: their keys, and the digests of what they publish.

The stages are called one after the other without Prefect, which has no part in what they make, in a process that is
forked off one with the libraries imported but none of the project's code.
"""

import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

#: Seconds after which a mutant counts as hanging.
PATIENCE = 60.0

#: What another operator or word becomes; a name in both directions.
SWAPS = {
    "+": "-", "*": "/", "<": "<=", ">": ">=", "==": "!=", "True": "False", "and": "or", "is": "==", "in": "not in",
    "+=": "-=", "//": "/", "%": "*", "min": "max", "any": "all", "sorted": "list", "if": "if not", "None": "0",
}  # fmt: skip
#: The files of a run that tell how it came to be: when, by which keys, and under which paths its artifacts lie. A run
#: that is reused tells how it came to be first.
DATED = {"run.json", "report.html", "SHA256SUMS"}

#: Stands for the keys of the stages before `save`, whose manifest tells how the run came to be: of a stage that is
#: reused since then under another key, that of the first.
NO_KEY = "0" * 64

SWAPS |= {new: old for old, new in SWAPS.items() if " " not in new}


@dataclass(frozen=True)
class Edit:
    """The replacement of one token.

    Attributes:
        file: relative to the project.
        line: of the token, from 1.
        column: of its first letter, from 0.
        old: the token.
        new: what takes its place.
    """

    file: str
    line: int
    column: int
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column} {self.old!r} → {self.new!r}"

    def apply(self, tree: Path) -> None:
        """Makes the edit in a copy of the project."""
        lines = (tree / self.file).read_text("utf-8").splitlines(keepends=True)
        line = lines[self.line - 1]
        assert line[self.column :].startswith(self.old)
        lines[self.line - 1] = line[: self.column] + self.new + line[self.column + len(self.old) :]
        (tree / self.file).write_text("".join(lines), "utf-8")


def replacement(token: str, kind: int) -> str:
    """What an edit makes of a token; empty for one that it leaves alone."""
    if kind == tokenize.NUMBER:
        return f"{token}1" if token.isdigit() else f"({token} + 1)"
    if kind == tokenize.STRING and "\n" not in token:
        return token[:-1] + "x" + token[-1]
    return SWAPS.get(token, "") if kind in (tokenize.OP, tokenize.NAME) else ""


def token_edits(project: Path, files: list[Path]) -> list[Edit]:
    """Every edit of a single token of some files, in their order."""
    return [
        Edit(path.relative_to(project).as_posix(), *token.start, token.string, new)
        for path in files
        for token in tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline)
        if (new := replacement(token.string, token.type))
    ]


def chosen(edits: list[Edit], number: int, seed: int) -> list[Edit]:
    """As many of some edits, drawn without repetition."""
    return random.Random(seed).sample(edits, number)


# ---- what the stages make


def outcome(tree: Path, home: Path, source: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The key of every stage, the digests of what it publishes in an empty store, and its code, by those in a tree."""
    sys.path.insert(0, str(tree))
    os.chdir(tree)
    sys.dont_write_bytecode = True

    import tasks.save
    from flows.config.experiments import load_experiment, settle
    from flows.train import pipeline
    from tasks.caching.decision import Walk, look_outside
    from tasks.caching.key import code_of, stage_call
    from tasks.caching.stage import Stage, StageContext, StageReport
    from tasks.caching.storage.store import Store

    assert Path(tasks.save.__file__).is_relative_to(tree)
    tasks.save.datetime = Midnight  # type: ignore[assignment, misc]
    settings, store = settle(load_experiment(source, dict(changes))), Store(home)
    reports: list[StageReport] = []
    found: dict[str, Any] = {}
    walk = Walk()

    def run(stage: Stage[Any], /, *upstream: Mapping[str, Any]) -> Mapping[str, Any]:
        inputs = walk.take(stage, upstream)
        if not stage.takes_part_with(settings):
            return {}
        call = stage_call(stage, settings, inputs, look_outside(stage, settings, settings.name, store))
        lineage = (*reports, StageReport(stage.name, NO_KEY, "running", ()))
        external = {name: file.path for name, file in call.external.items()}
        outputs = stage.function(
            call.config, call.inputs, StageContext(stage.name, store, external=external, lineage=lineage)
        )
        reports.append(StageReport(stage.name, NO_KEY, "run", (), 0.0, outputs))
        found[stage.name] = [call.key, {name: made.digest for name, made in outputs.items()}, code_of(stage)]
        return outputs

    pipeline(run)
    return found


class Midnight:
    """Stands for `datetime` where a run is saved, so that a report is the same each time."""

    @staticmethod
    def now(zone: Any) -> Any:
        from datetime import datetime

        return datetime(2026, 11, 27, tzinfo=zone)


# ---- processes


class EditRunner:
    """A process with the libraries imported, off which one is forked for each mutant."""

    def __init__(self, project: Path) -> None:
        code = "from tests.support.token_edits import serve; serve()"
        command = [sys.executable, "-c", code]
        self._process = subprocess.Popen(
            command, cwd=project, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    def outcome(self, tree: Path, home: Path, source: str, changes: Mapping[str, Any]) -> dict[str, Any] | None:
        """See `outcome`; None if the code ends with an error, or not at all."""
        shutil.rmtree(home, ignore_errors=True)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([str(tree), str(home), source, changes]) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] | None = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        """Ends the process."""
        with self._process:  # which closes its ends of the pipes, and waits for it to end
            pass


def serve() -> None:
    """Answers requests, a line each, with what the stages make; in a process of its own."""
    import matplotlib.figure
    import numpy
    import pandas
    import pyarrow.parquet
    import pydantic
    import torch

    assert "tasks" not in sys.modules, (matplotlib, numpy, pandas, pyarrow, pydantic, torch)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a mutant prints is no answer
    for line in sys.stdin:
        answers.write(json.dumps(forked(*json.loads(line))) + "\n")
        answers.flush()


def forked(tree: str, home: str, source: str, changes: Mapping[str, Any]) -> dict[str, Any] | None:
    """The outcome of a child."""
    # In a file, since a pipe holds 64 kB of an answer that nobody reads as yet.
    with tempfile.TemporaryFile() as answer:
        child = os.fork()
        if child == 0:
            answer_and_end(answer, Path(tree), Path(home), source, changes)
        ended = wait(child)
        answer.seek(0)
        return json.loads(answer.read()) if ended else None


def answer_and_end(answer: IO[bytes], tree: Path, home: Path, source: str, changes: Mapping[str, Any]) -> NoReturn:
    """What a child does: it writes its outcome and ends without what Python does at its end."""
    os.setpgid(0, 0)
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        answer.write(json.dumps(outcome(tree, home, source, changes)).encode())
        answer.flush()
        os._exit(0)
    finally:
        os._exit(1)


def wait(child: int) -> bool:
    """Whether a child ends well in time."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def stale(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """The stages that would be reused although they make other bytes."""
    for stage, (key, made, _) in after.items():
        was = before[stage][1]
        if before[stage][0] == key and {name for name in was | made if was.get(name) != made.get(name)} - DATED:
            yield stage


def recoded(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The stages whose code is another."""
    return [stage for stage in after if before[stage][2] != after[stage][2]]
