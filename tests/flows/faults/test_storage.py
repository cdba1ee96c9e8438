"""Trouble with the disk: one message that names the cause, nothing half-written, and the next run makes it good.

As far as it can be known, it is reported before anything is computed.
"""

import contextlib
import errno
import io
import json
import os
import pwd
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from flows.environment.identity import identity
from tasks.caching.gc.inspection import IN_USE_SECONDS, inspect_store
from tasks.caching.storage.durable import HashingSink
from tasks.caching.storage.ownership import own_data
from tasks.caching.storage.store import Store
from tests.caching.conftest import fault_at
from tests.flows.conftest import PROJECT, artifacts
from tests.flows.faults.test_crash import made
from tests.support.fork_server import ForkServer, workflow

Command = Callable[..., tuple[int, str, str]]

ERRORS = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.EFBIG)

SYNCS: list[tuple[Any, str]] = [(os, "fsync")]
WRITES: list[tuple[Any, str]] = [(HashingSink, "write")]

#: More than a run does of either.
MOST = 200


def require_reported(reported: tuple[int, str, str], words: str) -> None:
    """The failure was reported in one line, by these words."""
    status, _, error = reported
    assert status == 1, error
    assert error.count("\n") == 1, error
    assert error.startswith("error: ")
    assert words in error


def require_mended(store: Store, like: Path, command: Command) -> None:
    """Nothing half-written was left, and the same command makes what it ought to."""
    assert not list(store.root.rglob(".tmp-*"))
    assert inspect_store(store).problems == []
    status, _, error = command("train", "line")
    assert (status, error) == (0, "")
    assert artifacts(store.root) == artifacts(like)
    assert inspect_store(store).problems == []


# ---- an operation on the disk that fails


def failing(code: int) -> Callable[[], NoReturn]:
    def fail() -> NoReturn:
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("code", ERRORS, ids=lambda code: errno.errorcode[code])
@pytest.mark.parametrize("number", [1, 7, 29])
def test_an_error_of_the_disk(store: Store, first_home: Path, command: Command, number: int, code: int) -> None:
    identity(store.root)  # what a run makes before its first stage
    with fault_at(number, failing(code), SYNCS):
        reported = command("train", "line")
    require_reported(reported, os.strerror(code))
    assert reported[2].startswith("error: stage ")
    require_mended(store, first_home, command)


@pytest.mark.parametrize("code", [errno.EIO, errno.EDQUOT], ids=lambda code: errno.errorcode[code])
@pytest.mark.parametrize("number", [1, 40, 110])
def test_an_error_of_a_write(store: Store, first_home: Path, command: Command, number: int, code: int) -> None:
    with fault_at(number, failing(code), WRITES):
        reported = command("train", "line")
    require_reported(reported, os.strerror(code))
    assert reported[2].startswith("error: stage ")
    require_mended(store, first_home, command)


@pytest.mark.long
@pytest.mark.parametrize("operations", [SYNCS, WRITES], ids=["sync", "write"])
def test_an_error_at_every_operation_of_a_run(
    store: Store, first_home: Path, command: Command, operations: Sequence[tuple[Any, str]]
) -> None:
    for number in range(1, MOST):
        with fault_at(number, failing(errno.EIO), operations) as reached:
            reported = command("train", "line")
        if number > len(reached):
            assert reported[0] == 0
            break
        require_reported(reported, "Input/output error")
        require_mended(store, first_home, command)
        shutil.rmtree(store.root)
    assert 80 < number < MOST


@contextmanager
def watched_sync(number: int) -> Iterator[list[int]]:
    """Lets the sync of this number fail, and none after it: the kernel reports an error once.

    Whatever it was to make durable must not be synced again, nor get its name: the pages that were lost are marked as
    written, so that a second sync would report success. Yields the numbers that were reached.
    """
    sync, replace = os.fsync, os.replace
    reached: list[int] = []
    lost: list[int] = []

    def fsync(descriptor: int) -> None:
        reached.append(len(reached) + 1)
        inode = os.fstat(descriptor).st_ino
        assert inode not in lost, "a failed sync was tried again"
        if reached[-1] == number:
            lost.append(inode)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(descriptor)

    def rename(source: Path, target: Path) -> None:
        assert os.lstat(source).st_ino not in lost, f"{target} was not synced"
        replace(source, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        patch.setattr(os, "replace", rename)
        patch.setattr(os, "rename", rename)
        yield reached


#: Syncs at the beginning of a run: after two that only try the disk come a dataset, its folder, its record, and the
#: folder of that.
FIRST_SYNCS = {"artifact": 3, "its folder": 4, "record": 5, "the folder of records": 6, "last ingredients": 7}


@pytest.mark.parametrize("number", FIRST_SYNCS.values(), ids=FIRST_SYNCS)
def test_a_failed_sync_is_never_retried_into_a_success(
    store: Store, first_home: Path, command: Command, number: int
) -> None:
    with watched_sync(number) as reached:
        reported = command("train", "line")
    require_reported(reported, "Input/output error")
    assert len(reached) == number
    require_mended(store, first_home, command)


@pytest.mark.long
def test_no_failed_sync_of_a_run_is_retried(store: Store, first_home: Path, command: Command) -> None:
    for number in range(1, MOST):
        with watched_sync(number) as reached:
            reported = command("train", "line")
        if number > len(reached):
            break
        require_reported(reported, "Input/output error")
        assert len(reached) == number
        shutil.rmtree(store.root)
    assert 80 < number < MOST


def test_a_record_that_cannot_be_replaced_is_reported(trained: Store, command: Command) -> None:
    """The one that is there already, of an earlier run, must not be taken for the new one."""
    before = made(trained.root)
    identity(trained.root)
    own_data(trained)
    with fault_at(5, failing(errno.ENOSPC), SYNCS):
        reported = command("train", "line", "--refresh", "generate")
    require_reported(reported, "stage generate ran, but its record could not be written: ")
    assert command("train", "line", "--refresh", "generate")[0] == 0
    assert made(trained.root) == before


def test_a_folder_in_the_place_of_a_record_is_reported_before_the_stage_runs(trained: Store, command: Command) -> None:
    (record,) = (trained.records / "train").glob("*.json")
    record.unlink()
    record.mkdir()
    before = artifacts(trained.root)
    reported = command("train", "line", "--refresh", "train")
    require_reported(
        reported, f"stage train failed: {record}: Is a directory; move the folder that is in the place of a file"
    )
    assert artifacts(trained.root) == before


def test_a_training_continues_without_a_training_checkpoint_that_cannot_be_kept(
    store: Store, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("train", "line", "--until", "train", "--training.epochs", "20", "--training.checkpoint-every")
    with monkeypatch.context() as patch:
        patch.setattr(
            "tasks.caching.storage.stage_checkpoints.write_durably", lambda path, content: failing(errno.ENOSPC)()
        )
        code, out, error = command(*words, "5 epochs")
    assert (code, error) == (0, "")
    assert out.count("its progress could not be saved: No space left on device; free some space") == 4
    trained = made(store.root)
    assert command(*words, "never", "--refresh", "all")[0] == 0
    assert made(store.root) == trained


# ---- limits of the system


def limit(number: int, value: int, *words: str) -> None:
    """Runs a command under a limit."""
    resource.setrlimit(number, (value, resource.getrlimit(number)[1]))
    workflow(*words)


def test_files_that_may_not_grow(store: Store, first_home: Path, forked: ForkServer, command: Command) -> None:
    done = forked(limit, resource.RLIMIT_FSIZE, 30_000, "train", "line", home=store.root)
    require_reported((done.returncode, done.stdout, done.stderr), "File too large; raise the limit (`ulimit -f`)")
    require_mended(store, first_home, command)


def trains_or_tells(files: int, forked: ForkServer, home: Path, like: dict[str, str]) -> bool:
    """Whether a run gets through that may open so many files; if not, it says so, and has computed nothing."""
    done = forked(limit, resource.RLIMIT_NOFILE, files, "train", "line", home=home)
    if done.returncode == 0:
        assert made(home) == like
        return True
    require_reported((done.returncode, done.stdout, done.stderr), "Too many open files; raise the limit (`ulimit -n`)")
    assert not home.exists() or not artifacts(home)
    return False


def test_too_few_open_files_are_reported_before_anything_is_computed(
    forked: ForkServer, first_home: Path, tmp_path: Path
) -> None:
    like = made(first_home)
    got_through = [trains_or_tells(files, forked, tmp_path / str(files), like) for files in (8, 24, 40, 70, 128)]
    assert got_through == [False, False, False, False, True]


@pytest.mark.long
def test_every_number_of_open_files(forked: ForkServer, first_home: Path, tmp_path: Path) -> None:
    like = made(first_home)
    got_through = [trains_or_tells(files, forked, tmp_path / str(files), like) for files in range(4, 128)]
    assert sorted(got_through) == got_through, "what is enough for a run stays enough"
    assert got_through[-1]


# ---- disks that are full


@contextmanager
def disk(place: Path, options: str) -> Iterator[None]:
    """Mounts an empty disk in memory at a folder."""
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def fill(place: Path, left: int = 0) -> Path:
    """Fills a disk but for so many bytes; gives the file that takes the space."""
    filler = place / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(place).free - left)
    return filler


def run(*words: str) -> dict[str, Any]:
    """Runs a command in this process; what came of it."""
    from flows.cli import main

    out, error = io.StringIO(), io.StringIO()
    code: Any = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            main(words)
        except SystemExit as end:
            code = end.code
    return {"words": words, "reported": (code, out.getvalue(), error.getvalue())}


def state_of(place: Path) -> dict[str, Any]:
    """What is in a project, for those who cannot see its disk."""
    problems = [str(finding) for finding in inspect_store(Store(place)).problems]
    return {"problems": problems, "left over": list(map(str, place.rglob(".tmp-*"))), "made": made(place)}


def train_while_the_disk_fills(place: str, left: int) -> None:
    """Trains on a disk that somebody else fills when the run has just found it to have room; then once more."""
    from tasks.caching import prefect_run

    require_room, home = prefect_run.require_room, Path(place)

    def fill_then(store: Store) -> None:
        require_room(store)
        fill(home, left)

    with disk(home, "size=24m"):
        prefect_run.require_room = fill_then
        first = run("train", "line") | state_of(home)
        (home / "filler").unlink()
        prefect_run.require_room = require_room
        print(json.dumps([first, run("train", "line") | state_of(home)]))


def gets_through(left: int, forked_to_mount: ForkServer, home: Path, like: dict[str, str]) -> bool:
    """Whether a run gets through with so many bytes; if not, it says so, and the next run makes it good."""
    done = forked_to_mount(train_while_the_disk_fills, str(home), left, home=home)
    assert done.returncode == 0, done.stderr
    first, second = json.loads(done.stdout)
    assert (first["problems"], first["left over"]) == ([], [])
    assert second["reported"][0] == 0, second["reported"][2]
    assert (second["problems"], second["made"]) == ([], like)
    if first["reported"][0] != 0:
        require_reported(first["reported"], "No space left on device; free some space (`workflow collect`")
    return bool(first["reported"][0] == 0)


def test_a_disk_that_fills_up(forked_to_mount: ForkServer, first_home: Path, tmp_path: Path) -> None:
    like = made(first_home)
    sizes = [1024 * left for left in (0, 100, 600)]
    got_through = [gets_through(left, forked_to_mount, tmp_path / str(left), like) for left in sizes]
    assert got_through == [False] * 3


@pytest.mark.long
def test_every_size_of_a_disk_that_fills_up(forked_to_mount: ForkServer, first_home: Path, tmp_path: Path) -> None:
    like = made(first_home)
    sizes = range(0, 2_400_000, 32 * 1024)
    got_through = [gets_through(left, forked_to_mount, tmp_path / str(left), like) for left in sizes]
    assert got_through.count(False) > 30
    assert got_through[-1]


#: Six million rows, of 3.2 bytes each in every table.
LARGE = ("train", "line", "--data.rows", "6000000", "--data.noise", "0.1", "--training.epochs", "2")
LARGE += ("--training.checkpoint-every", "1 epoch")


def train_on_a_growing_disk(place: str, sizes: dict[str, int]) -> None:
    """Trains again and again, each time on a disk that is large enough for one stage more."""
    home, reported = Path(place), []
    with disk(home, f"size={min(sizes.values())}m"):
        for size in sizes.values():
            subprocess.run(["mount", "-o", f"remount,size={size}m", home], check=True)
            reported.append(run(*LARGE) | state_of(home))
        print(json.dumps(reported))


@pytest.mark.long
def test_a_large_dataset_on_a_disk_too_small_for_each_stage(
    forked_to_mount: ForkServer, forked: ForkServer, tmp_path: Path
) -> None:
    #: Megabytes of the disk on which each stage fails.
    sizes = {"generate": 18, "split": 37, "train": 64, "evaluate": 101, "plot": 111, "none": 200}
    done = forked_to_mount(train_on_a_growing_disk, str(tmp_path / "small"), sizes, home=tmp_path / "small")
    assert done.returncode == 0, done.stderr
    *failed, last = json.loads(done.stdout)
    for stage, run in zip(sizes, failed, strict=False):
        require_reported(run["reported"], f"stage {stage} failed: ")
        assert "free some space" in run["reported"][2]
        assert (run["problems"], run["left over"]) == ([], [])
    assert last["reported"][0] == 0, last["reported"][2]
    assert forked(workflow, *LARGE, home=tmp_path / "large").returncode == 0
    assert last["made"] == made(tmp_path / "large")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("size=1m", "Only 1.0 MB are free, and 17 are needed; free some space"),
        ("ro", "Read-only file system; make the folder writable"),
    ],
)
def test_what_cannot_be_written_is_reported_before_anything_is_computed(
    store: Store, forked_to_mount: ForkServer, options: str, words: str
) -> None:
    (store.root / "data").mkdir(parents=True)
    done = forked_to_mount(train_with_other_data, str(store.root / "data"), options, home=store.root)
    require_reported((done.returncode, done.stdout, done.stderr), words)
    assert done.stderr.startswith("error: stage generate failed: ")
    assert "Completed" not in done.stdout


def train_with_other_data(place: str, options: str) -> None:
    """Trains where data/ is another disk."""
    with disk(Path(place), options):
        workflow("train", "line")


# ---- every command, where it cannot write

#: Commands that only look, and that write; the last two find something to do.
LOOKS = (["runs"], ["show"], ["plan", "line"], ["check"], ["collect"], ["server", "status"])
WRITES_RUN = (["train", "line", "--training.epochs", "3"], ["train", "line", "--refresh", "all"], ["verify"])
COLLECTS, REPAIRS = ["collect", "--apply", "--keep-last", "1", "--no-keep-verified"], ["check", "--repair"]


@pytest.fixture
def old_runs(trained: Store, train: Callable[..., Any]) -> Path:
    """A project with two old runs, of which one need not be kept, and a damaged file that neither was made of."""
    train("line", {"training": {"epochs": 3}})
    for path in trained.root.rglob("*"):
        then = time.time() - IN_USE_SECONDS - 60
        os.utime(path, (then, then), follow_symlinks=False)
    return trained.root


def try_commands(place: str, source: str, options: str, commands: list[list[str]]) -> None:
    """Runs commands on a copy of a project that lies on a disk of its own, full or mounted anew; reports each."""
    home = Path(place)
    with disk(home, "size=64m"):
        shutil.copytree(source, home, symlinks=True, dirs_exist_ok=True)
        if options == "full":
            fill(home)
        else:
            subprocess.run(["mount", "-o", f"remount,{options}", home], check=True)
        before = state_of(home)["made"]
        reported = [run(*words) for words in commands]
        print(json.dumps({"reported": reported, "same": state_of(home)["made"] == before}))


@pytest.mark.parametrize(("options", "words"), [("full", "free some space"), ("ro", "make the folder writable")])
def test_commands_that_only_look_work_where_nothing_can_be_written_and_the_others_say_so(
    old_runs: Path, forked_to_mount: ForkServer, tmp_path: Path, options: str, words: str
) -> None:
    place, commands = tmp_path / "disk", [*LOOKS, *WRITES_RUN]
    done = forked_to_mount(try_commands, str(place), str(old_runs), options, commands, home=place)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for command in found["reported"]:
        if command["words"] in LOOKS:
            assert (command["reported"][0], command["reported"][2]) == (0, ""), command
        else:
            require_reported(command["reported"], words)
            assert "Completed" not in command["reported"][1]
    assert found["same"]


def test_a_full_disk_can_be_collected_and_repaired(old_runs: Path, forked_to_mount: ForkServer, tmp_path: Path) -> None:
    place, commands = tmp_path / "disk", [COLLECTS, REPAIRS, ["train", "line", "--refresh", "all"], ["check"]]
    done = forked_to_mount(collect_a_full_disk, str(place), str(old_runs), commands, home=place)
    assert done.returncode == 0, done.stderr
    collected, repaired, *others = json.loads(done.stdout)
    assert collected["reported"][0] == 0, collected["reported"][2]
    assert "removed 1 run" in collected["reported"][1]
    assert "set aside  data/split/test-" in repaired["reported"][1]
    assert [command["reported"][0] for command in others] == [0, 0], others


def collect_a_full_disk(place: str, source: str, commands: list[list[str]]) -> None:
    """Runs commands on a copy of a project that has filled its disk, of which the first makes room."""
    home = Path(place)
    with disk(home, "size=64m"):
        shutil.copytree(source, home, symlinks=True, dirs_exist_ok=True)
        damaged = next(home.glob("data/split/test-*.parquet"))
        damaged.write_bytes(b"")
        # Of the run that goes: as large as what the others need.
        folder = min((path for path in (home / "artifacts/runs").iterdir() if not path.is_symlink()), key=str)
        then = folder.stat().st_mtime
        fill(folder).rename(folder / "large.bin")
        os.utime(folder, (then, then))
        print(json.dumps([run(*words) for words in commands]))


def test_a_closed_store_is_neither_collected_nor_repaired(
    old_runs: Path, forked_to_mount: ForkServer, tmp_path: Path
) -> None:
    next(old_runs.glob("data/split/test-*.parquet")).write_bytes(b"")
    place, commands = tmp_path / "disk", [COLLECTS, REPAIRS]
    done = forked_to_mount(try_commands, str(place), str(old_runs), "ro", commands, home=place)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for command in found["reported"]:
        require_reported(command["reported"], "Read-only file system; make the folder writable")
    assert found["same"]


def test_a_store_of_another_user_is_read_and_not_written(old_runs: Path, forked: ForkServer) -> None:
    """Root may write wherever it likes: it becomes nobody first. Anybody else is refused by the folders' modes."""
    next(old_runs.glob("data/split/test-*.parquet")).write_bytes(b"")
    user = pwd.getpwnam("nobody").pw_uid if os.getuid() == 0 else None
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        shutil.copytree(old_runs, home, symlinks=True)
        before = made(home)
        with closed(Path(folder)):
            for words in (*LOOKS, *WRITES_RUN, COLLECTS, REPAIRS):
                reported = forked(workflow, *words, home=home, user=user, PREFECT_HOME=str(home / ".prefect"))
                if words == ["check"]:
                    assert (reported.returncode, reported.stderr) == (1, ""), reported
                elif words in LOOKS:
                    assert (reported.returncode, reported.stderr) == (0, ""), reported
                else:
                    require_reported(
                        (reported.returncode, reported.stdout, reported.stderr), "Permission denied; give your user"
                    )
        assert made(home) == before


@contextmanager
def closed(folder: Path) -> Iterator[None]:
    """Lets everybody read what is in a folder, and nobody write."""
    inside = [folder, *folder.rglob("*")]
    for path in inside:
        if not path.is_symlink():
            path.chmod(0o555 if path.is_dir() else 0o444)
    yield
    for path in inside:
        if not path.is_symlink():
            path.chmod(0o755)


@pytest.mark.parametrize("words", [["reproduce"], ["selftest", "resume", "--training.epochs", "9"]], ids=lambda w: w[0])
def test_a_full_folder_for_temporaries_is_reported(
    trained: Store, forked_to_mount: ForkServer, tmp_path: Path, words: list[str]
) -> None:
    place = tmp_path / "temporary"
    done = forked_to_mount(run_without_temporaries, str(place), *words, home=trained.root, TMPDIR=str(place))
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    require_reported((found["reported"][0], "", found["reported"][2].splitlines(keepends=True)[-1]), "free some space")
    assert str(place) in found["reported"][2]


def run_without_temporaries(place: str, *words: str) -> None:
    """Runs a command where nothing more can be written into the folder for temporaries."""
    with disk(Path(place), "size=1m"):
        assert tempfile.gettempdir() == place, "it looks for a folder that can be written only once"
        fill(Path(place))
        print(json.dumps([run(*words)]))


# ---- the disk of Prefect's own database


@pytest.mark.long
def test_a_full_disk_of_the_projects_own_server_is_reported(tmp_path: Path, forked_to_mount: ForkServer) -> None:
    place = tmp_path / "home" / ".prefect"
    place.parent.mkdir()
    done = forked_to_mount(train_with_a_server_on, str(place), home=place.parent, **OWN_SERVER)
    assert done.returncode == 0, done.stderr
    first, full, stopped, again = json.loads(done.stdout)
    assert first["reported"][0] == 0, first
    require_reported(full["reported"], f"No Prefect server can run in {place}: {place}: Only 0.0 MB are free")
    require_reported(stopped["reported"], f"No Prefect server can run in {place}: {place}: Only 0.0 MB are free")
    assert again["reported"][0] == 0, again


#: Lets a command start a server of its own, on ports that no other test uses.
OWN_SERVER = {"PREFECT_API_URL": "", "PREFECT_PROFILES_PATH": os.devnull, "WORKFLOW_SERVER_PORT": "4760"}


def train_with_a_server_on(place: str) -> None:
    """Trains with the project's own server: on a disk with room, on a full one, on that without a server, and again."""
    with disk(Path(place), "size=64m"):
        try:
            reported = [run_apart("train", "line")]
            filler = fill(Path(place))
            reported.append(run_apart("train", "line", "--training.epochs", "3"))
            run_apart("server", "stop")
            reported.append(run_apart("train", "line", "--training.epochs", "3"))
            filler.unlink()
            reported.append(run_apart("train", "line", "--training.epochs", "3"))
        finally:
            run_apart("server", "stop")
        print(json.dumps(reported))


def run_apart(*words: str) -> dict[str, Any]:
    """Runs a command in a new process."""
    command = [sys.executable, "-m", "flows.cli", *words]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    return {"words": words, "reported": (done.returncode, done.stdout, done.stderr)}
