"""Ctrl-C, SIGTERM and SIGHUP at other moments than in the midst of a training, which `test_resuming` is about."""

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time
import weakref
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flows.signals import Interrupted, interrupt, interruptible
from tasks.caching.gc.inspection import inspect_store
from tasks.caching.storage.store import Store
from tests.flows.conftest import AtStage, made, restore_sighup
from tests.support.prefect_api import Api, until_there
from tests.support.serving_project import Finish, Start

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
NUMBERS = pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)

#: The same where a signal takes ten seconds: all but one of them in the long tests.
ONE_NUMBER = pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, *(pytest.param(number, marks=pytest.mark.long) for number in (signal.SIGINT, signal.SIGHUP))],
    ids=lambda number: number.name,
)

INTERRUPTED = "interrupted: what is finished is kept, and the same command continues from there\n"

#: A training that goes on until it is ended, with a training checkpoint every second.
ENDLESS = ("train", "line", "--training.epochs", "10000000", "--training.checkpoint-every", "1s")

pytestmark = pytest.mark.usefixtures("prefect")


def require_ended(process: "subprocess.Popen[str]", number: int) -> None:
    """It ended by the signal, with one line for a person and no traceback."""
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (CODES[number], INTERRUPTED)


def require_nothing_left(home: Path) -> None:
    """No lease, no temporary file, no damage, and no process that has a file of the project open."""
    assert not list(home.glob(".prefect/alive/*"))
    assert not list(home.rglob(".tmp-*"))
    assert inspect_store(Store(home)).problems == []
    assert users_of(home) == []


def users_of(home: Path) -> list[int]:
    """The processes that have a file below a folder open."""
    links = (link for link in Path("/proc").glob("[0-9]*/fd/*") if link.is_symlink())
    return [int(link.parts[2]) for link in links if target(link).startswith(f"{home}/")]


def target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # closed meanwhile
        return ""


def training(home: Path) -> bool | None:
    """Whether a training has kept where it is."""
    return any((home / "artifacts/states/train").glob("*/*.pth")) or None


@ONE_NUMBER
def test_a_run_that_waits_for_another_ends_and_leaves_that_one_alone(
    number: int, start_process: Start, tmp_path: Path, api: Api
) -> None:
    began = datetime.now(UTC)
    first = start_process("-m", "flows.cli", *ENDLESS, home=tmp_path)
    until_there(lambda: training(tmp_path))
    second = start_process("-m", "flows.cli", *ENDLESS, home=tmp_path)
    until_there(lambda: len(list(tmp_path.glob(".prefect/alive/*"))) == 2 or None)
    time.sleep(1.0)  # it gets to the stage that the first one is at
    second.send_signal(number)
    require_ended(second, number)
    assert first.poll() is None
    first.send_signal(number)
    require_ended(first, number)
    require_nothing_left(tmp_path)
    assert {run.state.name for run in api.since(began)} == {"Cancelled"}


@ONE_NUMBER
def test_impatience_ends_it_no_worse(
    number: int, start_process: Start, workflow: Finish, first_home: Path, tmp_path: Path
) -> None:
    process = start_process("-m", "flows.cli", *ENDLESS, home=tmp_path)
    until_there(lambda: training(tmp_path))
    for _ in range(3):
        process.send_signal(number)
        time.sleep(0.05)
    _, error = process.communicate(timeout=60)
    assert process.returncode in (CODES[number], -number)
    assert "Traceback" not in error
    assert inspect_store(Store(tmp_path)).problems == []
    again = workflow("train", "line", home=tmp_path)
    assert again.returncode == 0, again.stderr
    assert made(tmp_path) == made(first_home)


@NUMBERS
@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.0])
def test_at_its_start_it_ends_without_a_trace(
    number: int, seconds: float, start_process: Start, workflow: Finish, tmp_path: Path
) -> None:
    process = start_process("-m", "flows.cli", *ENDLESS, home=tmp_path)
    time.sleep(seconds)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    # Before Python has come to `main`, it ends in its own way.
    assert process.returncode in (CODES[number], -number)
    assert "Traceback" not in error or "KeyboardInterrupt" in error
    if tmp_path.joinpath("artifacts").exists():
        require_nothing_left(tmp_path)


def lose(number: int) -> None:
    """A signal comes while a library calls back, which loses the exception of it."""
    with contextlib.suppress(BaseException):
        signal.raise_signal(number)


def mistake(number: int) -> None:
    """A signal comes while a library calls back, which makes an error of its own out of it."""
    try:
        signal.raise_signal(number)
    except BaseException as error:
        raise ValueError("error calling function") from error


@NUMBERS
@pytest.mark.parametrize("happen", [lose, mistake])
def test_an_interruption_that_a_library_swallows_is_not_lost(
    number: int, happen: Any, trained: Store, at_stage: AtStage, command: Any, api: Api
) -> None:
    began = datetime.now(UTC)
    at_stage("train.split", lambda: happen(number))
    code, out, error = command("train", "line", "--refresh", "split", "--training.epochs", "3")
    assert (code, error) == (CODES[number], INTERRUPTED)
    assert "evaluate" not in out
    (run,) = api.since(began)
    assert run.state.name == "Cancelled"
    assert run.state.message.startswith(f"Ended by {'Ctrl-C' if number == signal.SIGINT else number.name}. What is ")
    assert command("train", "line")[0] == 0


def test_a_training_whose_terminal_is_closed_keeps_a_training_checkpoint(
    start_process: Start, workflow: Finish, api_url: str, tmp_path: Path
) -> None:
    """In a terminal of its own, which is then closed: the kernel sends SIGHUP, and nothing can be printed any more."""
    words = ("train", "line", "--training.epochs", "10000000", "--training.checkpoint-every", "1000s")
    pid, terminal = pty.fork()
    if pid == 0:
        restore_sighup()
        os.environ.update(WORKFLOW_HOME=str(tmp_path), PREFECT_API_URL=api_url)
        os.execv(sys.executable, [sys.executable, "-m", "flows.cli", *words])  # noqa: S606
    shown = read_until(terminal, b"epochs/s")
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == CODES[signal.SIGHUP], shown
    assert training(tmp_path), "the training checkpoint was kept at the signal, since nothing else asks for it"
    require_nothing_left(tmp_path)


def read_until(terminal: int, text: bytes) -> bytes:
    """What a terminal shows until it shows a text."""
    shown = b""
    while text not in shown:
        shown += os.read(terminal, 65536)
    return shown


def test_what_nohup_ignores_stays_ignored(start_process: Start, tmp_path: Path) -> None:
    code = f"import signal, flows.cli; signal.signal(signal.SIGHUP, signal.SIG_IGN); flows.cli.main({ENDLESS})"
    process = start_process("-c", code, home=tmp_path)
    until_there(lambda: training(tmp_path))
    process.send_signal(signal.SIGHUP)
    time.sleep(1.0)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == CODES[signal.SIGTERM]


@NUMBERS
@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.3])
def test_while_the_command_is_imported_it_ends_without_a_word(number: int, seconds: float, tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("workflow")
    environment = os.environ | {"WORKFLOW_HOME": str(tmp_path)}
    process = subprocess.Popen(
        [script, "--help"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    until_there(lambda: catches(process.pid, number) or None)
    time.sleep(seconds)
    process.send_signal(number)
    out, error = process.communicate(timeout=60)
    # It may have ended before, or have done all its work: as Python shuts down, it takes its handlers away.
    is_done = out.endswith("its traceback comes first.\n")
    assert process.returncode in ((CODES[number], 0, -number) if is_done else (CODES[number],))
    assert error in ("", INTERRUPTED)


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler of its own for a signal, and one that is not Python's for Ctrl-C."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt")), 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def test_ctrl_c_in_a_program_of_the_users_is_no_crash(store: Store, at_stage: AtStage, train: Any, api: Api) -> None:
    """Nothing has taken note of the signal there: Python raises what it always does."""
    began = datetime.now(UTC)

    def interrupt() -> None:
        raise KeyboardInterrupt

    at_stage("train.split", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train()
    assert {run.state.name for run in api.since(began)} == {"Cancelled"}


def test_a_flow_run_that_is_ended_before_its_engine_has_begun_is_no_failure(
    start_process: Start, tmp_path: Path
) -> None:
    """Prefect reports a crash for a process that exits otherwise."""
    code = (
        "import os, time, uuid, prefect.flow_engine as engine\n"
        "engine.load_flow_run = lambda _: (print('loading', flush=True), time.sleep(60))\n"
        "from flows import executing\n"
        "os.environ[executing.FLOW_RUN] = str(uuid.uuid4())\n"
        "executing.main()\n"
    )
    process = start_process("-c", code, home=tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "loading\n"
    process.terminate()
    assert process.wait(60) == 0


def test_what_a_stage_computes_with_is_imported_before_it_begins(
    store: Store, train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.caching import execution

    imported: list[str] = []
    monkeypatch.setattr(execution, "import_libraries", imported.extend)
    train("line", until="generate")
    assert imported == ["numpy", "pyarrow"]


def test_one_that_comes_where_no_exception_can_be_raised_comes_again(own_signals: None, capfd: Any) -> None:
    """Python swallows what is raised in a callback of a weak reference, and prints a traceback."""

    class Thing:
        pass

    things = [Thing()]
    reference = weakref.ref(things[0], lambda _: os.kill(os.getpid(), signal.SIGTERM))

    def work() -> None:
        with interruptible():
            things.clear()
            time.sleep(10)

    with pytest.raises(Interrupted):
        work()
    assert reference() is None
    assert capfd.readouterr().err == ""


def test_one_that_comes_while_a_library_is_imported_waits(
    own_signals: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch would abort the process."""
    from tasks.caching.execution import import_libraries

    (tmp_path / "interrupting.py").write_text("import signal\nsignal.raise_signal(signal.SIGTERM)\ncomplete = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    signal.signal(signal.SIGTERM, interrupt)
    with pytest.raises(Interrupted):
        import_libraries(["interrupting"])
    assert sys.modules.pop("interrupting").complete
