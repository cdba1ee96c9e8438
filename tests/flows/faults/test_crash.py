"""Whole runs that are killed: before a stage, between its artifacts and its record, at any operation on the disk,
within an epoch, within a training checkpoint; and trainings whose parent is killed.

Whatever happened, nothing in the store is damaged, and the same command ends with the bytes of a run that nobody
disturbed.
"""

import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tasks.caching.gc.inspection import inspect_store
from tasks.caching.storage.durable import HashingSink
from tasks.caching.storage.store import Store
from tests.caching.conftest import fault_at
from tests.flows.cache.test_caching import states_in
from tests.flows.conftest import STAGES, made
from tests.flows.hostile.test_hostile_checkpoints import SignedRun
from tests.flows.hostile.test_hostile_runs import change
from tests.support.fork_server import ForkServer, workflow
from tests.support.prefect_api import Api, until_there
from tests.support.serving_project import Start

pytestmark = pytest.mark.usefixtures("prefect")

#: Every write, every sync, and whatever gives a file or a folder its name.
OPERATIONS = [(os, name) for name in ("fsync", "replace", "rename", "symlink")] + [(HashingSink, "write")]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def require_sound(home: Path) -> None:
    problems = inspect_store(Store(home)).problems
    assert problems == []


# ---- at every operation on the disk


def die_at(number: int, *words: str) -> None:
    """Runs a command that is killed at the operation of this number."""
    with fault_at(number, die, OPERATIONS):
        workflow(*words)


def is_killed_and_made_good(number: int, home: Path, like: dict[str, str], forked: ForkServer) -> bool:
    """Kills a run at an operation, and lets it go on; False if it got through before."""
    done = forked(die_at, number, "train", "line", home=home)
    require_sound(home)
    if done.returncode == 0:
        return False
    assert done.returncode == -signal.SIGKILL, done.stderr
    again = forked(workflow, "train", "line", home=home)
    assert again.returncode == 0, again.stderr
    require_sound(home)
    assert made(home) == like, f"operation {number}"
    assert (home / "artifacts/runs/latest/run.json").is_file()
    shutil.rmtree(home)
    return True


@pytest.mark.parametrize("number", [1, 60, 120, 180, 230])
def test_a_run_that_is_killed_at_an_operation_resumes(
    forked: ForkServer, first_home: Path, tmp_path: Path, number: int
) -> None:
    assert is_killed_and_made_good(number, tmp_path / "home", made(first_home), forked)


@pytest.mark.long
def test_killed_at_every_operation_of_a_run(
    start_fork_server: Callable[[], ForkServer], first_home: Path, tmp_path: Path
) -> None:
    numbers, like = itertools.count(1), made(first_home)

    def first_to_get_through(forked: ForkServer) -> int:
        return next(n for n in numbers if not is_killed_and_made_good(n, tmp_path / str(n), like, forked))

    with ThreadPoolExecutor(2) as pool:
        ends = list(pool.map(first_to_get_through, [start_fork_server(), start_fork_server()]))
    assert min(ends) > 230


# ---- around each stage


def die_before(stage: str, *words: str) -> None:
    """Runs a command that is killed when a stage is about to work."""
    from tasks.caching import prefect_run

    perform = prefect_run.perform

    def work(call: Any, context: Any) -> Any:
        if call.stage.name == stage:
            die()
        return perform(call, context)

    prefect_run.perform = work
    workflow(*words)


def die_without_record(stage: str, *words: str) -> None:
    """Runs a command that is killed when a stage has published its artifacts, and its record is not yet written."""
    from tasks.caching.prefect_run import RecordFiles

    write = RecordFiles.write_path

    def write_path(self: Any, path: str, content: bytes, _sync: bool = True) -> None:
        if Path(path).parent.name == stage:
            die()
        write(self, path, content)

    RecordFiles.write_path = write_path  # type: ignore[method-assign]
    workflow(*words)


@pytest.mark.parametrize("kill", [die_before, die_without_record])
def test_a_run_that_is_killed_at_each_stage_in_turn_loses_no_finished_one(
    store: Store, first_home: Path, forked: ForkServer, train: Callable[..., Any], kill: Callable[..., None]
) -> None:
    for done, stage in enumerate(STAGES):
        killed = forked(kill, stage, "train", "line", home=store.root)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        # The stage before was finished by this process, those before it by others that were killed as well.
        states = [(name, "Completed" if at == done - 1 else "Cached") for at, name in enumerate(STAGES[:done])]
        assert states_in(killed.stdout) == states
        require_sound(store.root)
    outcome = train("line")
    assert outcome.ran == ["save"]
    assert made(store.root) == made(first_home)
    require_sound(store.root)


def test_a_verification_that_is_killed_at_each_stage_has_proved_nothing(
    trained: Store, forked: ForkServer, command: Callable[..., tuple[int, str, str]]
) -> None:
    verification = (trained.runs / "latest").resolve() / "verification.json"
    verification.unlink()
    for stage in ("reload", "predict", "compare"):
        assert forked(die_before, stage, "verify", home=trained.root).returncode == -signal.SIGKILL
        assert not verification.exists()
        require_sound(trained.root)
    assert command("verify")[0] == 0
    assert verification.exists()


# ---- within a training

#: Fourteen batches in an epoch, the last of them smaller.
FITTED = ("train", "line", "--until", "train", "--training.epochs", "9", "--training.batch-size", "3")
FITTED += ("--training.optimizer", "adam", "--training.schedule", "cosine")
BATCHES = 14

#: Epochs and batches after which a training checkpoint is kept; the last two in the middle of an epoch.
KEPT = ((2, 0), (3, 5), (4, 11))


def keep_at_times() -> None:
    """Lets a training keep training checkpoints at the times that are `KEPT`, and at no others."""
    from tasks.learning.training.resumption import TrainingCheckpointInterval

    TrainingCheckpointInterval.is_due = lambda self, position: (position.epoch, position.batch) in KEPT  # type: ignore[method-assign]


def die_within_an_epoch(*words: str) -> None:
    """Runs a training that is killed when it has kept its last training checkpoint."""
    from tasks.caching.storage.stage_checkpoints import StageCheckpoints

    keep = StageCheckpoints.keep

    def keep_and_die(self: Any, step: int, content: Any) -> None:
        keep(self, step, content)
        if step == updates(KEPT[-1]):
            die()

    keep_at_times()
    StageCheckpoints.keep = keep_and_die  # type: ignore[method-assign]
    workflow(*words)


def die_within_a_training_checkpoint(*words: str) -> None:
    """Runs a training that is killed when half of its last training checkpoint is written."""
    from tasks.caching.storage import stage_checkpoints

    keep = stage_checkpoints.StageCheckpoints.keep

    def write_half(path: Path, content: Any) -> None:
        path.write_bytes(b"half")
        die()

    def keep_half(self: Any, step: int, content: Any) -> None:
        if step == updates(KEPT[-1]):
            stage_checkpoints.write_durably = write_half
        keep(self, step, content)

    keep_at_times()
    stage_checkpoints.StageCheckpoints.keep = keep_half  # type: ignore[method-assign]
    workflow(*words)


def terminate_within_an_epoch(*words: str) -> None:
    """Runs a training that gets SIGTERM in the middle of an epoch."""
    from tasks.learning.training.resumption import TrainingCheckpointInterval

    def is_due(self: Any, position: Any) -> bool:
        if (position.epoch, position.batch) == KEPT[-1]:
            signal.raise_signal(signal.SIGTERM)
        return False

    TrainingCheckpointInterval.is_due = is_due  # type: ignore[method-assign]
    workflow(*words)


def updates(at: tuple[int, int]) -> int:
    epoch, batch = at
    return epoch * BATCHES + batch


@pytest.fixture(scope="module")
def undisturbed(forked: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    home = tmp_path_factory.mktemp("undisturbed")
    assert forked(workflow, *FITTED, home=home).returncode == 0
    return made(home)


@pytest.mark.parametrize(
    ("end", "code", "newest"),
    [
        (die_within_an_epoch, -signal.SIGKILL, updates(KEPT[2])),
        (die_within_a_training_checkpoint, -signal.SIGKILL, updates(KEPT[1])),
        (terminate_within_an_epoch, 128 + signal.SIGTERM, updates(KEPT[2]) + 1),
    ],
)
def test_a_training_resumes_in_the_middle_of_an_epoch(
    forked: ForkServer, undisturbed: dict[str, str], tmp_path: Path, end: Callable[..., None], code: int, newest: int
) -> None:
    ended = forked(end, *FITTED, home=tmp_path)
    assert ended.returncode == code, ended.stderr
    kept = sorted(path.name for path in (tmp_path / "artifacts/states/train").glob("*/*.pth"))
    assert int(kept[-1].partition("-")[0]) == newest
    assert newest % BATCHES != 0
    require_sound(tmp_path)
    again = forked(workflow, *FITTED, home=tmp_path)
    assert again.returncode == 0, again.stderr
    assert f"resumes after epoch {newest // BATCHES}" in again.stdout
    assert made(tmp_path) == undisturbed
    require_sound(tmp_path)


# ---- a parent that is killed while its child trains


def child_of(process: "subprocess.Popen[str]") -> int | None:
    """The process that another one has started; None while there is none."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    assert children.exists(), "/proc lists no children here: a Linux kernel with CONFIG_PROC_CHILDREN is needed"
    return next(map(int, children.read_text().split()), None)


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


LONG = ("--training.epochs", "3000000", "--training.checkpoint-every", "1000 epochs")


def with_a_long_run(home: Path) -> Path:
    """Makes a project have a run that says that it took very many epochs."""
    run = SignedRun(Store(home))

    def prolong(manifest: Any) -> Any:
        manifest["experiment"]["training"] |= {"epochs": 3_000_000, "checkpoint_every": "1000 epochs"}
        return manifest

    change(run.folder / "run.json", prolong)
    run.sign()
    return home


@pytest.mark.parametrize(
    "words",
    [("selftest", "resume", "line", *LONG), pytest.param(("reproduce",), marks=pytest.mark.long)],
    ids=lambda words: words[0],
)
def test_a_training_whose_parent_is_killed_ends_too_and_can_resume(
    words: tuple[str, ...], trained: Store, start_process: Start, forked: ForkServer, tmp_path: Path, api: Api
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    home = with_a_long_run(trained.root)
    parent = start_process("-m", "flows.cli", *words, home=home, TMPDIR=str(temporary))
    until_there(lambda: next(temporary.rglob("states/train/*/*.pth"), None))
    child = child_of(parent)
    assert child is not None
    parent.kill()
    until_there(lambda: None if is_alive(child) else True)
    flow_run = api.newest("line on cpu")
    assert flow_run.state.name == "Cancelled", "it ended in good order, and reported that to Prefect"
    (left,) = {path.parents[1] for path in temporary.rglob("artifacts/states")}
    require_sound(left)
    (experiment,) = temporary.rglob("*.toml")
    experiment.write_text(experiment.read_text().replace("3000000", "3"))
    again = forked(workflow, "train", str(experiment), "--until", "train", home=left)
    assert again.returncode == 0, again.stderr
