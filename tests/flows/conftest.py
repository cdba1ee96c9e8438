"""Flows against one real Prefect server for the whole session: its start takes seconds, a flow some tenths."""

import dataclasses
import functools
import importlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows.config.experiments import load_experiment, settle
from flows.environment import settings
from flows.environment.settings import configure_prefect, prefect_home
from flows.planning import plan_training
from flows.services.prefect_server import server, server_process
from flows.services.prefect_server.password import own_password
from flows.services.prefect_server.sign_in import UiPage
from tasks.caching.decision import Decision
from tasks.caching.interruption import SIGNALS
from tasks.caching.observer import Observer, extra_observers
from tasks.caching.records import read_record
from tasks.caching.stage import StageReport
from tasks.caching.storage.store import Store, project_store
from tests.support.fork_server import ForkServer
from tests.support.prefect_api import Api
from tests.support.process_tree import finish, kill_tree
from tests.support.serving_project import Finish, ServingProject, Start
from tests.support.stages import STAGES

PROJECT = Path(__file__).parents[2]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Shows that no test module imports Prefect at its top: `prefect` sets it up before its first import."""
    if "prefect" in sys.modules:
        raise pytest.UsageError("Prefect was imported while tests were collected: import it inside of them")


#: Milliseconds until something that was waited for in a browser counts as never happening.
PATIENCE = 60_000


@dataclass(frozen=True)
class Outcome:
    """What came of a flow that was called in this process.

    Attributes:
        run: name of the run; None if the flow failed or ended before one was saved.
        reports: what became of each stage that ended well.
        flow_run_id: the flow run in Prefect.
        error: why it failed.
    """

    run: str | None
    reports: tuple[StageReport, ...]
    flow_run_id: Any
    error: BaseException | None = None

    @property
    def states(self) -> dict[str, str]:
        """Whether each stage was run or reused."""
        return {report.name: report.status for report in self.reports}

    @property
    def ran(self) -> list[str]:
        """The stages that ran, in order."""
        return [report.name for report in self.reports if report.status == "run"]

    @property
    def reasons(self) -> dict[str, tuple[str, ...]]:
        """Why each stage was run or reused, in words."""
        return {report.name: tuple(map(str, report.reasons)) for report in self.reports}

    @property
    def digests(self) -> dict[str, str]:
        """The digest of every artifact but for the three that depend on the time."""
        return {
            f"{report.name}.{name}": reference.digest
            for report in self.reports
            for name, reference in report.outputs.items()
            if name not in ("run.json", "report.html", "SHA256SUMS")
        }


def why(decision: Decision) -> tuple[str, ...]:
    """The reasons of a decision, in words."""
    return tuple(map(str, decision.reasons))


def stages_from(first: str, before: str | None = None) -> list[str]:
    """The stages from one on, in order, up to another one that is left out."""
    end = len(STAGES) if before is None else STAGES.index(before)
    return list(STAGES[STAGES.index(first) : end])


class Listener(Observer):
    """Collects what observers see of a flow."""

    def __init__(self) -> None:
        self.reports: list[StageReport] = []
        self.steps: list[tuple[int, int, Mapping[str, float]]] = []

    def on_progress(self, stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        self.steps.append((done, total, figures))

    def on_stage_end(self, report: StageReport) -> None:
        self.reports.append(report)


@pytest.fixture(scope="session")
def prefect_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stands for the project as the server knows it: its home, with its database, lies inside."""
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture(scope="session")
def api_url(prefect_root: Path) -> Iterator[str]:
    """The address of the session's server, whose log must be clean in the end."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("PREFECT_", "WORKFLOW_"))]:
            patch.delenv(name)
        patch.setenv("WORKFLOW_SERVER_PORT", "4750")
        yield server.start(prefect_root).api.url
        server.stop(prefect_root)
    log = server_process.log_path(prefect_home(prefect_root)).read_text()
    assert "Traceback" not in log, log
    assert "database is locked" not in log, log


@pytest.fixture(scope="session")
def password(prefect_root: Path, api_url: str) -> str:
    """What that server asks for, as Prefect's client names it."""
    return own_password(prefect_home(prefect_root))


@pytest.fixture(scope="session")
def dashboard(api_url: str, password: str) -> UiPage:
    """The page of the session's server that people open first."""
    return UiPage(settings.Api(api_url, password=password, is_random=True), "/dashboard")


@pytest.fixture(scope="module")
def start_browser() -> Iterator[Callable[..., Any]]:
    """Starts Debian's Chromium, with options; or another program in its place."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs a browser: apt-get install chromium")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE)
    # Root, as which containers often run, has no sandbox in it.
    unconfined = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        yield lambda *options, program=program: playwright.chromium.launch(
            executable_path=program, args=[*unconfined, *options]
        )


@pytest.fixture(scope="module")
def browser(start_browser: Callable[..., Any]) -> Iterator[Any]:
    """Debian's Chromium."""
    browser = start_browser()
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def prefect(prefect_root: Path, api_url: str, password: str) -> Iterator[None]:
    """Prefect as a flow that is called directly finds it, reporting to the session's server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_API_URL", api_url)
        patch.setenv("PREFECT_API_AUTH_STRING", password)
        patch.setenv("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
        configure_prefect(prefect_root)
        from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

        session: AbstractContextManager[object] = temporary_settings(
            {PREFECT_API_URL: api_url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
        )
        with session:
            yield
        # At the process's end they would try for a minute to reach a server that has stopped.
        from prefect.events.worker import EventsWorker
        from prefect.logging.handlers import APILogWorker

        APILogWorker.drain_all()
        EventsWorker.drain_all()


def enter(home: Path, patch: pytest.MonkeyPatch) -> Store:
    """Makes a folder the project's home for this process."""
    patch.setenv("WORKFLOW_HOME", str(home))
    project_store.cache_clear()
    return project_store()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An empty store of its own, which the flows take for the project's."""
    yield enter(tmp_path / "home", monkeypatch)
    project_store.cache_clear()


@pytest.fixture
def trained(first_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store of its own in which `line` was trained and verified once, by another process."""
    shutil.copytree(first_home, tmp_path / "home", symlinks=True)
    yield enter(tmp_path / "home", monkeypatch)
    project_store.cache_clear()


@pytest.fixture
def train(prefect: None) -> Callable[..., Outcome]:
    """Runs the train flow in this process, and says what became of its stages."""

    def run(
        source: str = "line",
        changes: Mapping[str, Any] | None = None,
        refresh: Sequence[Any] = (),
        until: Any = None,
        may_fail: bool = False,
    ) -> Outcome:
        from flows import orchestration

        listener = Listener()
        token = extra_observers.set((listener,))
        try:
            state: Any = orchestration.train(load_experiment(source, changes), list(refresh), until, return_state=True)
        finally:
            extra_observers.reset(token)
        result = state.result(raise_on_failure=not may_fail)
        error = result if isinstance(result, BaseException) else None
        name = None if error else result
        return Outcome(name, tuple(listener.reports), state.state_details.flow_run_id, error)

    return run


@pytest.fixture
def plan() -> Callable[..., dict[str, Decision]]:
    """What would become of each stage of the train flow."""

    def run(
        store: Store,
        source: str = "line",
        changes: Mapping[str, Any] | None = None,
        refresh: Sequence[str] = (),
        until: str | None = None,
    ) -> dict[str, Decision]:
        experiment = settle(load_experiment(source, changes))
        return {d.stage: d for d in plan_training(experiment, store, frozenset(refresh), until)}

    return run


@pytest.fixture
def api(prefect: None) -> Iterator[Api]:
    """The session's server, asked through its API."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        yield Api(client)


def artifacts(root: Path) -> set[str]:
    """Every artifact that a stage has published in a store, whose name has its digest."""
    found = (path for top in ("data", "artifacts") for path in (root / top).glob("*/*-*.*"))
    return {str(path.relative_to(root)) for path in found if path.parent.name in STAGES}


def made(home: Path) -> dict[str, str]:
    """The digest of everything that the stages made, by stage, key and name, but for what holds times."""
    records = [read_record(path) for stage in STAGES for path in (home / "artifacts/records" / stage).glob("*.json")]
    return {
        f"{record.stage}/{record.key}/{name}": output.digest
        for record in records
        for name, output in record.outputs.items()
        if name not in ("run.json", "report.html", "SHA256SUMS")
    }


#: Lets something happen when a stage begins its work.
AtStage = Callable[[str, Callable[[], object]], None]


@pytest.fixture
def at_stage(monkeypatch: pytest.MonkeyPatch) -> AtStage:
    """Lets something happen in this process when a stage begins its work; its key stays, which is of its module.

    Stages are named as the flows' modules know them, for example "train.split".
    """

    def arrange(name: str, happen: Callable[[], object]) -> None:
        module, _, stage_name = name.partition(".")
        stage = getattr(importlib.import_module(f"flows.{module}"), stage_name)

        @functools.wraps(stage.function)
        def work(*arguments: Any) -> Any:
            happen()
            return stage.function(*arguments)

        monkeypatch.setattr(f"flows.{name}", dataclasses.replace(stage, function=work))

    return arrange


def restore_sighup() -> None:
    """Undoes what nohup has done for the tests themselves: what they start is ended by SIGHUP, as in a terminal."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def start_process(api_url: str, password: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts Python in a process of its own, as a user whose project is in `home` and whose code is in `tree`."""
    started: list[subprocess.Popen[str]] = []
    user = tmp_path_factory.mktemp("user")

    def start(
        *arguments: str, home: Path, tree: Path = PROJECT, cwd: Path = user, **environment: str
    ) -> "subprocess.Popen[str]":
        own = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "DO_NOT_TRACK"))}
        own |= {"PYTHONPATH": str(tree), "WORKFLOW_HOME": str(home), "HOME": str(user)}
        own |= {"PREFECT_API_URL": api_url, "PREFECT_API_AUTH_STRING": password}
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=cwd,
            env=own | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=restore_sighup,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        kill_tree(process)


@pytest.fixture(scope="session")
def workflow(start_process: Start) -> Finish:
    """Runs a command as a user does, in a process of its own."""

    def run(
        *arguments: str, home: Path, module: str = "flows.cli", code: str = "", **options: Any
    ) -> "subprocess.CompletedProcess[str]":
        beginning = ("-c", code) if code else ("-m", module)
        process = start_process(*beginning, *arguments, home=home, **options)
        out, error = finish(process, 180)
        return subprocess.CompletedProcess(arguments, process.returncode, out, error)

    return run


@pytest.fixture(scope="session")
def start_fork_server(
    api_url: str, password: str, prefect_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., ForkServer]]:
    """Starts processes that others are forked off; see `tests.support.fork_server`."""
    started: list[ForkServer] = []

    def start(*wrapper: str) -> ForkServer:
        folder = tmp_path_factory.mktemp("fork_server")
        own = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "DO_NOT_TRACK"))}
        own |= {"PREFECT_API_URL": api_url, "PREFECT_HOME": str(prefect_home(prefect_root)), "HOME": str(folder)}
        own |= {"PREFECT_API_AUTH_STRING": password, "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"}
        started.append(ForkServer(own, folder, wrapper))
        return started[-1]

    yield start
    for fork_server in started:
        fork_server.close()


@pytest.fixture(scope="session")
def forked(start_fork_server: Callable[..., ForkServer]) -> ForkServer:
    """Calls a function in a process of its own, which has everything imported already."""
    return start_fork_server()


@pytest.fixture(scope="session")
def forked_to_mount(start_fork_server: Callable[..., ForkServer]) -> ForkServer:
    """The same for functions that mount something, which only those see that are called here."""
    apart = ("unshare", "--map-root-user", "--mount")
    try:
        subprocess.run([*apart, "true"], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.fail(f"a namespace with mounts of its own is needed, which `{' '.join(apart)}` does not give: {error}")
    return start_fork_server(*apart)


@pytest.fixture(scope="session")
def first_run(workflow: Finish, tmp_path_factory: pytest.TempPathFactory) -> "subprocess.CompletedProcess[str]":
    """What `workflow train line --verify` printed in a new project; see `first_home` for what it made."""
    home = tmp_path_factory.mktemp("first") / "home"
    done = workflow("train", "line", "--verify", home=home)
    assert done.returncode == 0, done.stderr
    return subprocess.CompletedProcess([str(home)], 0, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def first_home(first_run: "subprocess.CompletedProcess[str]") -> Path:
    """A project in which `line` was trained and verified once. Not to be changed: `trained` is a copy."""
    return Path(first_run.args[0])


@pytest.fixture
def own_signals() -> Iterator[None]:
    """Signals as in a terminal; after the test, they mean what they meant before."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    restore_sighup()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def command(
    prefect: None, own_signals: None, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line in this process: its exit code, and what it printed on each stream."""

    def run(*words: str) -> tuple[int, str, str]:
        from flows.cli import main

        capsys.readouterr()
        code = 0
        try:
            main(words)
        except SystemExit as end:
            code = int(end.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
def own_tree(tmp_path: Path) -> Path:
    """A copy of the project's code, to be edited."""
    tree = tmp_path / "tree"
    for name in ("flows", "tasks"):
        shutil.copytree(PROJECT / name, tree / name)
    shutil.copy(PROJECT / "pyproject.toml", tree)
    return tree


@pytest.fixture(scope="module")
def project(
    first_home: Path, start_process: Start, prefect: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServingProject]:
    """A project in which `line` was trained, not served yet. Its deployments are removed in the end."""
    from prefect.client.orchestration import get_client

    home = tmp_path_factory.mktemp("served") / "home"
    shutil.copytree(first_home, home, symlinks=True)
    with get_client(sync_client=True) as client:
        yield ServingProject(home, start_process, Api(client))
        for deployment in client.read_deployments():
            client.delete_resource_owned_automations(f"prefect.deployment.{deployment.id}")
            client.delete_deployment(deployment.id)


@pytest.fixture(scope="module")
def served(project: ServingProject) -> Iterator[ServingProject]:
    """The project while it is served."""
    project.begin("--limit", "3")
    yield project
    code, _ = project.end()
    assert code == 0
