"""The command line, as a user meets it: what it prints, where, and with which exit code."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tasks.caching.storage.store import Store
from tests.flows.conftest import stages_from
from tests.support.serving_project import Finish
from tests.support.stages import STAGES

Command = Callable[..., tuple[int, str, str]]

#: Runs the command line, and prints on the last line what it has imported.
TELL_MODULES = """
import atexit, sys
from flows.cli import main
atexit.register(lambda: print(*sys.modules))
main(sys.argv[1:])
"""


def stages_in(output: str) -> dict[str, str]:
    """The stages and their states, from the lines that a run printed."""
    words = (line.split() for line in output.splitlines() if line.startswith("  "))
    return {word[0]: word[1] for word in words}


def snapshot(folder: Path) -> dict[str, int]:
    """Every file below a folder, with the time of its last change."""
    return {str(path): path.lstat().st_mtime_ns for path in folder.rglob("*")}


# ---- train


def test_a_first_run_prints_its_stages_and_where_things_are(
    first_run: "subprocess.CompletedProcess[str]", first_home: Path, api_url: str
) -> None:
    verified = dict.fromkeys(("reload", "predict", "compare"), "Completed")
    assert stages_in(first_run.stdout) == dict.fromkeys(STAGES, "Completed") | verified
    places = dict(re.findall(r"^(run|checkpoint|report|Prefect UI)  +(\S+)$", first_run.stdout, re.MULTILINE))
    assert (first_home / places["checkpoint"]).is_file()
    assert (first_home / places["report"]).is_file()
    assert places["run"] == (first_home / "artifacts" / "runs" / "latest").resolve().name
    assert places["Prefect UI"] == api_url.removesuffix("/api")


def test_a_normal_run_prints_nothing_on_the_error_stream_and_no_colour(
    first_run: "subprocess.CompletedProcess[str]",
) -> None:
    assert first_run.stderr == ""
    assert "\x1b" not in first_run.stdout


def test_a_second_run_in_another_process_is_all_cached(trained: Store, workflow: Any) -> None:
    done = workflow("train", "line", home=trained.root)
    assert (done.returncode, done.stderr) == (0, "")
    assert stages_in(done.stdout) == dict.fromkeys(STAGES, "Cached")


def test_a_cached_run_imports_neither_torch_nor_pandas_nor_matplotlib(trained: Store, start_process: Any) -> None:
    process = start_process("-c", TELL_MODULES, "train", "line", home=trained.root)
    output, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    modules = set(output.splitlines()[-1].split())
    assert "prefect" in modules
    assert not {"torch", "pandas", "matplotlib"} & modules


@pytest.mark.parametrize("flow", ["train", "verify"])
def test_each_flow_runs_as_a_module(trained: Store, workflow: Any, flow: str) -> None:
    done = workflow("--json", home=trained.root, module=f"flows.{flow}")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["verified"] is True


def test_train_takes_refresh_repeatedly(trained: Store, command: Command) -> None:
    code, out, _ = command("train", "line", "--refresh", "split", "--refresh", "plot")
    assert code == 0
    assert [name for name, state in stages_in(out).items() if state == "Completed"] == ["split", "plot"]
    assert out.count("forced") == 2


def test_train_takes_refresh_all(trained: Store, command: Command) -> None:
    assert stages_in(command("train", "line", "--refresh", "all")[1]) == dict.fromkeys(STAGES, "Completed")


def test_train_until_a_stage_saves_no_run(store: Store, command: Command) -> None:
    code, out, error = command("train", "line", "--until", "split")
    assert (code, error) == (0, "")
    assert stages_in(out) == {"generate": "Completed", "split": "Completed"}
    assert "checkpoint" not in out
    assert json.loads(command("runs", "--json")[1]) == []


def test_train_takes_a_file_of_the_users_own_and_dotted_overrides(
    store: Store, command: Command, tmp_path: Path
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[data]\nrows = 20\n[training]\nepochs = 5\ndevice = 'cpu'\n")
    code, out, _ = command("train", str(path), "--training.learning-rate", "0.5", "--data.noise=0.1", "--json")
    assert code == 0
    summary = json.loads(out)
    assert (summary["experiment"], summary["device"]) == ("mine", "cpu")
    assert Path(summary["checkpoint"]).name == "mine.pth"
    assert Path(summary["checkpoint"]).is_file()
    experiment = json.loads(command("show", "--json")[1])["manifest"]["experiment"]
    assert (experiment["data"]["rows"], experiment["data"]["noise"]) == (20, 0.1)
    assert (experiment["training"]["epochs"], experiment["training"]["learning_rate"]) == (5, 0.5)


def test_a_failed_run_exits_with_1_and_one_message(trained: Store, workflow: Any) -> None:
    arguments = ("train", "line", "--training.loss", "mse", "--training.learning-rate", "1e30")
    done = workflow(*arguments, home=trained.root)
    assert done.returncode == 1
    assert re.fullmatch(r"error: stage train failed: training diverged at epoch \d+: .*\n", done.stderr)
    assert stages_in(done.stdout) == {"generate": "Cached", "split": "Cached"}


def test_debug_shows_the_traceback(trained: Store, command: Command) -> None:
    arguments = ("train", "line", "--training.loss", "mse", "--training.learning-rate", "1e30")
    assert "Traceback" not in command(*arguments)[2]
    code, _, error = command(*arguments, "--debug")
    assert code == 1
    assert "Traceback" in error
    assert "DivergenceError" in error


def test_without_a_server_that_answers_nothing_runs(store: Store, workflow: Any) -> None:
    done = workflow("train", "line", home=store.root, PREFECT_API_URL="http://127.0.0.1:9/api")
    assert done.returncode == 1
    assert "The Prefect server at http://127.0.0.1:9/api does not answer" in done.stderr
    assert "Traceback" not in done.stderr
    assert not store.root.exists()


# ---- bad input


@pytest.mark.parametrize(
    ("words", "reported"),
    [
        (["train", "nope"], "there is no preset 'nope'"),
        (["train", "absent.toml"], "there is no file absent.toml"),
        (["train", "x" * 300 + ".toml"], "there is no file"),
        (["train", "line", "--refresh", "traim"], "--refresh"),
        (["train", "line", "--until", "traim"], "--until"),
        (["train", "line", "--training.epoch", "3"], "--training.epoch"),
        (["train", "line", "--training.epochs", "many"], "training.epochs"),
        (["train", "line", "--name", "../../etc"], "name: '../../etc' is not of its form"),
        (["train", "line", "--checkpoint", "/etc/passwd"], "checkpoint"),
        (["train", "line", "--training.patience", "3"], "set split.validation"),
        (["plan", "nope"], "there is no preset 'nope'"),
        (["plan", "--until", "traim"], "--until"),
        (["plan", "--refresh", "save", "--until", "split"], "refresh names save, which is not reached: until"),
        (
            ["train", "--refresh", "save", "--until", "split"],
            "refresh names save, which is not reached: until",
        ),
        (["train", "--until", "split", "--verify"], "--verify is about a run, and none is saved: --until ends"),
        (["train", "--until", "train", "--fail-on-rejection"], "--fail-on-rejection is about a run, and none is"),
        (["reproduce", "latest", "--device", "foo"], "foo"),
        (["runs", "--last", "0"], "--last"),
        (["completion", "powershell"], "powershell"),
        (["verify", "nope"], "there is no run 'nope'"),
        (["verify", "latest"], "there is no run yet"),
        (["verify", "../../../etc"], "is no run of this project"),
        (["show", "x" * 300], "there is no run"),
        (["show"], "there is no run yet"),
        (["compare", "a", "b"], "there is no run 'a'"),
        (["compare", "a"], "OTHER"),
        (["history"], "EXPERIMENT"),
        (["history", "line", "--last", "0"], "--last"),
        (["nope"], "nope"),
        (["server", "nope"], "nope"),
    ],
)
def test_bad_input_exits_with_2_and_one_message_and_leaves_nothing_behind(
    store: Store, command: Command, words: list[str], reported: str
) -> None:
    code, out, error = command(*words)
    assert (code, out) == (2, "")
    assert error.startswith("error: ")
    assert reported in error
    assert "Traceback" not in error
    assert not store.root.exists()


def test_all_problems_of_a_configuration_are_reported_at_once(store: Store, command: Command, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("colour = 1\n[data]\nstep = 0\n[training]\nloss = 'l3'\n")
    code, _, error = command("train", str(path), "--split.train", "0.7")
    assert code == 2
    assert [line.split(":")[0].strip() for line in error.splitlines()[1:]] == ["data.step", "training.loss", "colour"]


def test_all_problems_of_the_options_are_reported_at_once(store: Store, command: Command) -> None:
    code, _, error = command("train", "line", "--training.epochs", "0", "--data.step=-1", "--name", "a/b")
    assert code == 2
    assert {line.split(":")[0].strip() for line in error.splitlines()[1:]} == {"name", "data.step", "training.epochs"}


def test_a_gpu_that_is_asked_for_and_not_there_is_bad_input(
    store: Store, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.learning.config.devices.cuda_device_count", lambda: 0)
    code, _, error = command("train", "line-cuda", "--training.device", "cuda")
    assert code == 2
    assert "training.device: device 'cuda' is not there, since" in error
    assert not store.root.exists()


def test_none_clears_what_a_file_has_set(store: Store, command: Command, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[training]\nbatch_size = 41\n")
    assert command("plan", str(path))[0] == 2
    assert command("plan", str(path), "--training.batch-size", "none")[0] == 0


def test_an_interrupted_run_ends_without_a_traceback(store: Store, start_process: Any) -> None:
    process = start_process("-m", "flows.cli", "train", "--training.epochs", "10000000", home=store.root)
    while not any(store.root.glob("artifacts/records/split/*.json")):
        assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=60)[1]
    assert process.returncode not in (0, None)
    assert "Traceback" not in error


# ---- plan


def test_plan_imports_nothing_heavy_and_writes_nothing(trained: Store, start_process: Any) -> None:
    before = snapshot(trained.root)
    process = start_process(
        "-c", TELL_MODULES, *["plan", "line"], home=trained.root, PREFECT_API_URL="http://127.0.0.1:9/api"
    )
    output, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (0, "")
    modules = set(output.splitlines()[-1].split())
    assert "flows.train" in modules
    assert not {"torch", "pandas", "prefect", "matplotlib", "numpy", "pyarrow"} & modules
    assert snapshot(trained.root) == before


def test_plan_of_a_new_project_makes_no_folder(store: Store, command: Command) -> None:
    code, out, _ = command("plan", "line", "--json")
    first, *others = json.loads(out)
    assert code == 0
    assert first == {"stage": "generate", "status": "will run", "reasons": ["first run of line"]}
    assert {entry["status"] for entry in others} == {"depends"}
    assert not store.root.exists()


def test_plan_says_why_in_words(trained: Store, command: Command) -> None:
    out = command("plan", "line", "--training.learning-rate", "0.01")[1]
    rows = [re.split(r"\s{2,}", line.strip()) for line in out.splitlines()]
    assert ["generate", "reused", "unchanged"] in rows
    assert ["train", "will run", "training.learning_rate 0.03 → 0.01"] in rows
    assert ["evaluate", "depends", "depends on the outcome of train"] in rows


def test_plan_names_the_missing_artifact(trained: Store, command: Command) -> None:
    path = next((trained.root / "data" / "split").glob("test-*"))
    path.unlink()
    entries = {entry["stage"]: entry for entry in json.loads(command("plan", "--json")[1])}
    assert entries["split"]["reasons"] == [f"artifact missing: data/split/{path.name}"]


def test_plan_knows_refresh_and_until(trained: Store, command: Command) -> None:
    entries = json.loads(command("plan", "--refresh", "split", "--until", "train", "--json")[1])
    assert [entry["status"] for entry in entries] == [
        "reused",
        "will run",
        "depends",
        *["not reached" for _ in stages_from("evaluate")],
    ]
    assert entries[1]["reasons"] == ["forced"]
    assert entries[3]["reasons"] == ["after train"]


def test_the_run_does_what_the_plan_said(trained: Store, command: Command, train: Callable[..., Any]) -> None:
    changes = ["--training.epochs", "20", "--checkpoint", "x.pth"]
    planned = {entry["stage"]: entry for entry in json.loads(command("plan", "line", *changes, "--json")[1])}
    outcome = train("line", {"training": {"epochs": 20}, "checkpoint": "x.pth"})
    for name, entry in planned.items():
        if entry["status"] == "reused":
            assert outcome.states[name] == "reused"
        if entry["status"] == "will run":
            assert outcome.states[name] == "run"
            assert list(outcome.reasons[name]) == entry["reasons"]


# ---- runs


@pytest.fixture
def two_runs(trained: Store, command: Command) -> tuple[str, str]:
    """The names of two runs, the second with another learning rate and not verified."""
    first = json.loads(command("show", "--json")[1])["run"]
    second = json.loads(command("train", "line", "--training.learning-rate", "0.01", "--json")[1])["run"]
    return first, second


def test_runs_lists_every_run_for_people_and_for_programs(two_runs: tuple[str, str], command: Command) -> None:
    entries = json.loads(command("runs", "--json")[1])
    assert [(entry["run"], entry["verified"]) for entry in entries] == [(two_runs[0], True), (two_runs[1], None)]
    assert entries[0]["metrics"]["test"]["rows"] == 10
    code, out, error = command("runs")
    assert (code, error) == (0, "")
    assert all(name in out.replace("\n", "") or name[:12] in out for name in two_runs)
    assert "not yet" in out


def test_runs_lists_those_of_an_experiment_or_the_newest(
    two_runs: tuple[str, str], command: Command, train: Callable[..., Any]
) -> None:
    other = train(changes={"name": "other", "training": {"epochs": 2}}).run
    names = [*two_runs, other]
    for words, expected in (
        ((), names),
        (("--last", "2"), names[-2:]),
        (("--experiment", "line"), names[:2]),
        (("--experiment", "line", "--last", "1"), names[1:2]),
    ):
        assert [entry["run"] for entry in json.loads(command("runs", *words, "--json")[1])] == expected
    assert command("runs", "--experiment", "none")[1] == "There is no run of none: `workflow runs` lists all runs.\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands(command: Command, shell: str) -> None:
    code, out, _ = command("completion", shell)
    assert code == 0
    assert {"reproduce", "history", "--refresh"} <= set(re.split(r"[^-\w]+", out))
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=out, text=True, check=True)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["show"], "A run's name, its folder's path"),
        (["compare"], "The run to compare with"),
        (["compare"], "Further runs"),
        (["alerts", "create"], "a URL of apprise"),
        (["reproduce"], "A run's name, its folder's path"),
        (["train"], "At least 1, at most"),
    ],
)
def test_arguments_are_described_in_the_help(command: Command, words: list[str], text: str) -> None:
    assert text in " ".join(command(*words, "--help")[1].replace("│", " ").split())


def test_runs_of_a_new_project_says_how_to_make_one(store: Store, command: Command) -> None:
    assert command("runs")[:2] == (0, "There is no run yet: `workflow train` makes one.\n")


def test_show_prints_all_about_a_run(two_runs: tuple[str, str], command: Command) -> None:
    found = json.loads(command("show", two_runs[0], "--json")[1])
    assert found["manifest"]["experiment"]["training"]["learning_rate"] == 0.03
    code, out, _ = command("show", "line-latest")
    assert code == 0
    assert "training.learning_rate 0.03 → 0.01" in out
    assert "Metrics" in out


def test_compare_shows_what_differs(two_runs: tuple[str, str], command: Command) -> None:
    found = json.loads(command("compare", *two_runs, "--json")[1])
    assert found["configuration"] == {"training.learning_rate": [0.03, 0.01]}
    assert len(found["metrics"]["test.mae"]) == 2
    assert "training.learning_rate" in command("compare", *two_runs)[1]


def test_a_run_is_not_compared_with_itself(two_runs: tuple[str, str], command: Command) -> None:
    code, _, error = command("compare", two_runs[1], "latest")
    assert code == 2
    assert "named twice" in error


def test_presets_lists_them(command: Command) -> None:
    presets = json.loads(command("presets", "--json")[1])
    assert list(presets) == ["line", "line-cuda", "line-cuda-scaled", "line-layers"]
    assert presets["line"]["training"]["learning_rate"] == 0.03
    assert all(name in command("presets")[1] for name in presets)


# ---- help


@pytest.mark.parametrize(
    "words", [[], ["train"], ["plan"], ["verify"], ["runs"], ["show"], ["compare"], ["history"], ["server"]]
)
def test_every_command_has_help(command: Command, words: list[str]) -> None:
    code, out, _ = command(*words, "--help")
    assert code == 0
    assert "Usage: workflow" in out


def test_every_field_of_the_experiment_is_in_the_help_of_train(workflow: Finish, tmp_path: Path) -> None:
    from tasks.learning.config.experiment import Experiment

    out = workflow("train", "--help", home=tmp_path, COLUMNS="200").stdout
    for section in ("data", "split", "model", "training"):
        for field in type(getattr(Experiment(), section)).model_fields:
            assert f"--{section}.{field.replace('_', '-')} " in out
    assert "Step size of the optimizer." in out


def test_help_imports_nothing_heavy(start_process: Any, tmp_path: Path) -> None:
    process = start_process("-c", TELL_MODULES, *["--help"], home=tmp_path)
    output, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (0, "")
    modules = set(output.splitlines()[-1].split())
    assert "flows.train" in modules
    assert not {"torch", "pandas", "prefect", "matplotlib", "numpy", "pyarrow"} & modules


# ---- servers


#: Lets a command use the project's own server, with a password of its own, on ports that no other test uses.
OWN_SERVER = {"PREFECT_API_URL": "", "PREFECT_API_AUTH_STRING": "", "WORKFLOW_SERVER_PORT": "4780"}


def require_secrecy(home: Path, printed: list[str]) -> None:
    """Shows that the password is in the files that only its owner reads, and nowhere else: no log, no run, no ps."""
    password = (home / "password").read_bytes().strip()
    assert len(password) > 40
    holding = [path for path in home.parent.rglob("*") if path.is_file() and password in path.read_bytes()]
    assert [path.name for path in holding] == ["password"]
    started_with = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not [text for text in (*started_with, *map(str.encode, printed)) if password in text]


def test_the_projects_own_server_starts_serves_and_stops(trained: Store, workflow: Any) -> None:
    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        done: subprocess.CompletedProcess[str] = workflow(*words, home=trained.root, **OWN_SERVER)
        assert done.returncode == 0, done.stderr
        return done

    def fail(*words: str, **environment: str) -> str:
        done = workflow(*words, home=trained.root, **OWN_SERVER, **environment)
        assert done.returncode != 0
        assert "Traceback" not in done.stderr
        error: str = done.stderr.partition("error: ")[2]
        return error

    named = "Prefect rejects its settings, correct them:\n  the environment variable PREFECT_CLIENT_MAX_RETRIES: "
    try:
        assert fail("server", "start", PREFECT_CLIENT_MAX_RETRIES="abc").startswith(named)
        assert json.loads(run("server", "status", "--json").stdout)["state"] == "stopped"
        started = run("train", "line")
        assert "Starting the project's Prefect server" in started.stderr
        assert len(started.stderr.splitlines()) == 2
        assert stages_in(started.stdout) == dict.fromkeys(STAGES, "Cached")
        status = json.loads(run("server", "status", "--json").stdout)
        assert (status["state"], status["ui"].rpartition(":")[0]) == ("running", "http://127.0.0.1")
        wrong = workflow("runs", home=trained.root, PREFECT_CLIENT_MAX_RETRIES="-1")
        assert wrong.returncode == 0, "it needs no Prefect"
        wrong = workflow("train", "line", home=trained.root, **OWN_SERVER, PREFECT_CLIENT_CUSTOM_HEADERS='{"a": 1}')
        named = "the environment variable PREFECT_CLIENT_CUSTOM_HEADERS: input should be a valid string (got 1)"
        assert wrong.stderr == f"error: Prefect rejects its settings, correct them:\n  {named}\n"
        host = fail("train", "line", PREFECT_CLIENT_CUSTOM_HEADERS='{"Host": "elsewhere"}')
        assert host.startswith(
            "the project's own Prefect server refuses to answer (HTTP 403): another program may have"
        )
        again = run("server", "start")
        assert (again.stdout, again.stderr) == (f"Prefect UI  {status['ui']}\n", "")
        opened = run("ui")
        places = dict(line.split(maxsplit=1) for line in opened.stdout.splitlines()[:3])
        assert (places["Prefect"], places["Deployments"]) == (f"UI   {status['ui']}", f"{status['ui']}/deployments")
        assert httpx.get(places["Report"]).status_code == 200
        assert opened.stderr == "Starting `workflow serve` in the background (5 s).\n"
        assert run("ui").stdout == opened.stdout
        require_secrecy(trained.root / ".prefect", [opened.stdout, opened.stderr, started.stdout, started.stderr])
        # As a person would in a shell, for Prefect's own command.
        shell = ["sh", "-c", 'eval "$EXPORTS"; exec "$0" -m prefect deployment ls', sys.executable]
        exported = os.environ | {"EXPORTS": run("server", "env").stdout}
        listed = subprocess.run(shell, env=exported, cwd=trained.root, capture_output=True, text=True, check=True)
        assert "train/line" in listed.stdout
    finally:
        stopped = run("server", "stop")
    assert stopped.stdout == "`workflow serve` has ended.\nThe server has stopped.\n"
    assert run("server", "stop").stdout == "No server of this project was running.\n"


def test_ephemeral_leaves_no_server_behind(trained: Store, workflow: Any) -> None:
    database = trained.root / ".prefect" / "prefect.db"
    database.parent.mkdir(exist_ok=True)
    database.write_text("garbage")
    done = workflow("train", "line", "--ephemeral", "--json", home=trained.root, PREFECT_API_URL="")
    assert done.stderr.startswith("The database of the Prefect server is damaged (file is not a database)"), done.stderr
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads(done.stdout)["ui"] is None
    assert not (trained.root / ".prefect" / "server.json").exists()
    shutil.rmtree(trained.root / ".prefect")


def test_a_bad_file_is_named(command: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('training.epochs = "3"')
    code, _, error = command("plan", str(tmp_path / "mine.toml"))
    assert code == 2
    assert f"{tmp_path / 'mine.toml'} is not a valid experiment" in error
