"""Processes that are forked off one which has imported everything: a run in one takes a second in place of four.

pytest's own process cannot be forked: once it has run a flow, Prefect lets its children fail.
"""

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

PROJECT = Path(__file__).parents[2]

#: Seconds after which a child counts as hanging, and is killed.
PATIENCE = 120.0

#: Stands for the exit code of such a child; no process has it.
HUNG = 1000

#: Seconds between two looks at the children: how exactly one is killed at its moment.
LOOK_SECONDS = 0.001

#: What `workflow_after` says of a command that begins, and before the seconds that it took.
BEGUN = "begins\n"
ENDED = "ended after "


@dataclass(frozen=True)
class Lifetime:
    """How long a child lives, at the most.

    Attributes:
        seconds: from its beginning until it is killed.
        after: a folder; once something in it has changed, the child is killed as well.
        moment: seconds from then until it is.
        delay: seconds from the child's beginning before the folder is watched.
    """

    seconds: float
    after: str = ""
    moment: float = 0.0
    delay: float = 0.0


class ForkServer:
    """A process with everything imported, and the children that are forked off it.

    Args:
        environment: of the process.
        folder: where it may write.
        wrapper: a command that runs the process.
    """

    def __init__(self, environment: dict[str, str], folder: Path, wrapper: Sequence[str] = ()) -> None:
        self._process = subprocess.Popen(
            [*wrapper, sys.executable, "-c", "from tests.support.fork_server import serve; serve()", str(folder)],
            cwd=PROJECT,
            env=environment | {"PYTHONPATH": str(PROJECT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(
        self, function: Callable[..., object], *arguments: Any, home: Path, user: int | None = None, **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        """Calls a function of a module in a child, and waits until it has ended.

        Args:
            function: at the top level of its module.
            arguments: for it; JSON.
            home: root of the project that it finds.
            user: id of the user that it becomes before.
            environment: variables that it finds.
        """
        (done,) = self.together(function, arguments, home=home, user=user, **environment)
        return done

    def together(
        self,
        function: Callable[..., object],
        *calls: Sequence[Any],
        home: Path,
        user: int | None = None,
        lives: Sequence[Lifetime] = (),
        **environment: str,
    ) -> "list[subprocess.CompletedProcess[str]]":
        """Calls a function in several children at once, each with arguments of its own; the rest as for one.

        Args:
            function: as for one.
            calls: the arguments of each child.
            home: as for one.
            user: as for one.
            lives: how long each child lives; if there are none, all are let end.
            environment: as for one.
        """
        orders = [
            {
                "function": (function.__module__, function.__name__),
                "arguments": arguments,
                "environment": environment | {"WORKFLOW_HOME": str(home)},
                "user": user,
                "life": asdict(life) if life else None,
            }
            for arguments, life in zip(calls, lives or [None] * len(calls), strict=True)
        ]
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(orders) + "\n")
        self._process.stdin.flush()
        ended = json.loads(self._process.stdout.readline())
        return [subprocess.CompletedProcess(call, *how) for call, how in zip(calls, ended, strict=True)]

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()


def workflow(*words: str) -> None:
    """The command line."""
    from flows.cli import main

    main(words)


def workflow_in(folder: str, *words: str) -> None:
    """The command line, started in a folder."""
    os.chdir(folder)
    workflow(*words)


def workflow_after(delay: float, *words: str) -> None:
    """The command line, some seconds later; says on the error stream when it begins, and how long it has taken.

    What a process does after that takes longer than many a command: the libraries that it has loaded are unloaded.
    """
    time.sleep(delay)
    os.write(sys.stderr.fileno(), BEGUN.encode())
    began = time.monotonic()
    try:
        workflow(*words)
    finally:
        sys.stdout.flush()
        sys.stderr.write(f"{ENDED}{time.monotonic() - began:.3f}\n")


def serve() -> None:
    """What the process does: it forks off children for each line that it reads, and reports what became of them."""
    folder = Path(sys.argv[1])
    modules = folder / "modules"
    answers = os.fdopen(os.dup(1), "w")
    warm = {"WORKFLOW_HOME": str(folder / "warm")}
    learning = {"function": (__name__, "learn"), "arguments": [str(modules)], "environment": warm}
    ((code, _, error),) = carry_out([learning | {"user": None, "life": None}], folder)
    if code != 0:
        sys.exit(error)
    for name in modules.read_text().split():
        importlib.import_module(name)
    warm_up(folder / "warm")
    for line in sys.stdin:
        answers.write(json.dumps(carry_out(json.loads(line), folder)) + "\n")
        answers.flush()


def warm_up(store: Path) -> None:
    """Does once what takes long the first time and needs no thread: looks at the code, and draws a picture."""
    from flows.config.experiments import load_experiment, settle
    from flows.planning import plan_training
    from tasks.caching.storage.store import Store
    from tasks.learning.data.tables import read_table
    from tasks.learning.reporting.figure_style import render
    from tasks.learning.reporting.figures import draw_losses

    plan_training(settle(load_experiment("line", {})), Store(store), frozenset(), None)
    (history,) = store.glob("data/train/history-*.parquet")
    render(draw_losses(read_table(history), {part: {"loss": 0.0} for part in ("train", "test")}, "l1", "line"))


def learn(modules: str) -> None:
    """Runs the train flow, and writes down all that was imported for it."""
    try:
        workflow("train", "line")
    finally:
        own = (name for name, module in sys.modules.items() if getattr(module, "__spec__", None) and name != "__main__")
        Path(modules).write_text("\n".join(own))


def carry_out(orders: Sequence[dict[str, Any]], folder: Path) -> list[tuple[int, str, str]]:
    """Forks off a child for each order; of each the exit code (below 0 for a signal), and what it printed."""
    with contextlib.ExitStack() as stack:
        children, began = [], time.monotonic()
        for order in orders:
            streams = [stack.enter_context(tempfile.TemporaryFile("w+", dir=folder)) for _ in range(2)]
            number = os.fork()
            if number == 0:
                be_child(order, [stream.fileno() for stream in streams])
            children.append(Child(number, streams, began, Lifetime(**order["life"]) if order["life"] else None))
        wait_for(children)
        return [(child.code, *map(contents, child.streams)) for child in children]


@dataclass
class Child:
    """A child, until it has been seen to end.

    Attributes:
        number: of the process.
        streams: what it prints goes there.
        began: when it did, on the monotonic clock.
        life: how long it lives; None if it is let end.
        code: its exit code (below 0 for a signal); None as long as it lives.
    """

    number: int
    streams: Sequence[IO[str]]
    began: float
    life: Lifetime | None
    code: int | None = None
    _end: float = 0.0
    _state: int = 0

    def __post_init__(self) -> None:
        """Begins to watch."""
        if self.life is not None:
            self._end = self.began + self.life.seconds
            self._state = state_of(Path(self.life.after))

    def look(self) -> None:
        """Notes the end of the child, and kills it if it is time; that it was killed is seen at a later look."""
        ended, status = os.waitpid(self.number, os.WNOHANG)
        if ended:
            self.code = os.waitstatus_to_exitcode(status)
        elif self.life is not None and self._is_over(self.life):
            os.kill(self.number, signal.SIGKILL)
        elif time.monotonic() - self.began > PATIENCE:
            os.kill(self.number, signal.SIGKILL)
            os.waitpid(self.number, 0)
            self.code = HUNG

    def _is_over(self, life: Lifetime) -> bool:
        """Whether it is time."""
        now = time.monotonic()
        if life.after and (state := state_of(Path(life.after))) != self._state:
            self._state = state
            if now > self.began + life.delay:
                self._end = min(self._end, now + life.moment)
        return now > self._end


def state_of(folder: Path) -> int:
    """What changes when something in a folder is made, renamed or removed, or the folder itself; 0 without it."""
    try:
        return folder.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def contents(stream: IO[str]) -> str:
    """All that was written into a file."""
    stream.seek(0)
    return stream.read()


def be_child(order: dict[str, Any], streams: list[int]) -> NoReturn:
    """Does what was ordered, and ends as any process does."""
    for number, descriptor in enumerate((os.open(os.devnull, os.O_RDONLY), *streams)):
        os.dup2(descriptor, number)
    os.environ.update(order["environment"])
    tempfile.tempdir = None  # it is looked up once
    if order["user"] is not None:
        os.setgroups([])
        os.setresgid(*[order["user"]] * 3)
        os.setresuid(*[order["user"]] * 3)
    module, name = order["function"]
    getattr(importlib.import_module(module), name)(*order["arguments"])
    sys.exit()


def wait_for(children: Sequence[Child]) -> None:
    """Waits until every child has ended, or was killed."""
    while waiting := [child for child in children if child.code is None]:
        for child in waiting:
            child.look()
        time.sleep(LOOK_SECONDS)
