"""The commands that serve the flows: `workflow serve`, `ui`, `worker`, `deploy` and `deployments`."""

import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from pydantic import ValidationError

from flows.cli.arguments import AT_LEAST_ONE
from flows.cli.terminal.output import print_line, print_notice
from flows.config.dated_settings import Dated
from flows.config.schedule import Schedule
from flows.deploy.deployments import DeployedExperiment, experiments_to_deploy
from flows.environment.identity import identity
from flows.environment.settings import Api, named_api
from flows.errors import list_problems
from flows.services.prefect_server.sign_in import UiPage
from flows.train import Refreshable
from tasks.caching.storage.store import project_store

Sources = Annotated[
    list[str] | None,
    Parameter(help="Presets, or paths of TOML files, that are scheduled or offered besides the presets."),
]
Cron = Annotated[str | None, Parameter(help="When to train, as in crontab: '30 3 * * *' is daily at 03:30.")]
Interval = Annotated[str | None, Parameter(help="Time from training to training, such as 90min, 6h or 1d.")]
RRule = Annotated[str | None, Parameter(name="--rrule", help="When to train, as a rule of iCalendar (RFC 5545).")]
Timezone = Annotated[str | None, Parameter(help="Time zone of --cron and --rrule, such as Europe/Berlin.")]
IfRunning = Annotated[
    Literal["wait", "cancel"] | None,
    Parameter(help="What a training does while another one of its experiment is running; wait when not given."),
]
TakeOver = Annotated[
    bool, Parameter(negative=(), help="Take the place of another store that offers the same on this server.")
]
ScheduledRefresh = Annotated[
    list[Refreshable] | None,
    Parameter(name="--refresh", negative=(), help="A stage that each scheduled run computes even if cached; or all."),
]
ScheduledDates = Annotated[
    list[Dated] | None,
    Parameter(name="--dated", negative=(), help="A seed that each scheduled run takes from its date, as 20261127."),
]
Limit = Annotated[int, Parameter(help="Flow runs at a time, at most; at least 1.", validator=AT_LEAST_ONE)]


def serve(
    sources: Sources = None,
    /,
    *,
    cron: Cron = None,
    interval: Interval = None,
    rrule: RRule = None,
    timezone: Timezone = None,
    if_running: IfRunning = None,
    refresh: ScheduledRefresh = None,
    dated: ScheduledDates = None,
    limit: Limit = 2,
    take_over: TakeOver = False,
) -> None:
    """Train on schedules and from the Prefect UI, and verify each run that was trained; until Ctrl-C.

    The schedule is the `[schedule]` table of each file, or what is given here. A schedule is in force only while this
    command runs; if trainings were missed in the meantime, one of them is run.
    """
    schedule = given_schedule(
        cron=cron,
        interval=interval,
        rrule=rrule,
        timezone=timezone,
        if_running=if_running,
        refresh=refresh,
        dated=dated,
    )
    deployed = experiments_to_deploy(sources or (), schedule)
    serve_experiments(deployed, limit, take_over=take_over)


def worker(
    *,
    pool: Annotated[str, Parameter(help="The work pool, of type process.")] = "workflow",
    name: Annotated[str | None, Parameter(help="How Prefect shows the worker.")] = None,
    limit: Limit = 2,
) -> None:
    """Carry out the flow runs of a work pool, for deployments made by `prefect deploy`; until Ctrl-C."""
    import asyncio

    from flows.runtime.session import prefect_session

    store = project_store()
    show_log()
    # Its runs are started as `python`, which a service finds on its PATH alone.
    os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    with prefect_session(store.root, notify=print_notice):
        from flows.deploy.worker import work

        asyncio.run(work(pool, name, limit, store.root, print_notice))


def deploy(sources: Sources = None, /, *, take_over: TakeOver = False) -> None:
    """Make the deployments that `workflow serve` offers, for workers; what a file no longer says is removed.

    The schedule of each is the `[schedule]` table of its file. One that was paused in the Prefect UI stays paused.
    """
    import asyncio

    from flows.runtime.session import prefect_session

    deployed, store = experiments_to_deploy(sources or ()), project_store()
    owned = named_api(store.root) is None
    with prefect_session(store.root, notify=print_notice) as api:
        from flows.deploy.deployments import POOL, make_deployments
        from flows.deploy.registration import deploy_to, prepare

        made = asyncio.run(make_deployments(deployed, identity(store.root)))
        paused = prepare(made, POOL, store.root, print_notice, take_over=take_over or owned)
        deploy_to(POOL, made)
        link = UiPage(api, "/deployments").link(sys.stdout) if api else ""
    for one in deployed:
        print_line(deployed_line(one, paused))
    print_line("verify/each-run  after each training")
    print_line(f"`workflow worker` carries out their runs. Prefect UI  {link}")


def deployments(sources: Sources = None, /) -> None:
    """Print prefect.yaml: the deployments that `workflow serve` offers, for `prefect deploy` and workers."""
    from flows.deploy.deployments import to_yaml

    sys.stdout.write(to_yaml(experiments_to_deploy(sources or ())))


def ui(
    *,
    browse: Annotated[
        bool | None, Parameter(help="Open the UI in a browser; where there is a screen when not given.")
    ] = None,
) -> None:
    """Open it all: the server, `workflow serve` in the background, and a verified run. `server stop` ends both."""
    from flows.cli.ui import show

    show(project_store(), browse=has_screen() if browse is None else browse)


def given_schedule(**options: str | list[Any] | None) -> Schedule | None:
    """The schedule that the command line gives; None if it gives none.

    Args:
        options: by the fields of a schedule; None for one that is not given.

    Raises:
        InputError: it is none.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if not given:
        return None
    try:
        return Schedule.model_validate(given)
    except ValidationError as error:
        raise list_problems(error, "the command line", "schedule") from error


def serve_experiments(deployed: list[DeployedExperiment], limit: int, *, take_over: bool) -> None:
    """Serves trainings and verifications until Ctrl-C or SIGTERM.

    Raises:
        InputError: another store offers one of them on the same server, and its place is not to be taken over.
    """
    import asyncio

    from flows.runtime.session import prefect_session
    from flows.services import serve_process
    from flows.services.report_server import served_reports

    store = project_store()
    owned = named_api(store.root) is None  # then the server is of this project alone
    show_log()
    with (
        serve_process.single_instance(store.root) as ready,
        prefect_session(store.root, notify=print_notice) as api,
        served_reports(store) as reports,
    ):
        from flows.deploy.deployments import make_deployments
        from flows.deploy.reaper import reap
        from flows.deploy.registration import prepare
        from flows.deploy.runner import serve as serve_deployments

        def on_ready() -> None:
            ready(reports)
            for line in serving_lines(deployed, api, paused):
                print_line(line)

        deployments = asyncio.run(make_deployments(deployed, identity(store.root)))
        paused = prepare(deployments, None, store.root, print_notice, take_over=take_over or owned)
        asyncio.run(serve_deployments(deployments, limit, on_ready, lambda: reap(store.root, print_notice)))


def serving_lines(deployed: list[DeployedExperiment], api: Api | None, paused: set[str]) -> list[str]:
    """What `serve` prints when it is ready, in lines.

    Args:
        deployed: the trainings.
        api: whose UI shows them.
        paused: the experiments whose schedules stay paused, as a person has them.
    """
    ui = [f"Prefect UI  {UiPage(api, '/deployments').link(sys.stdout)}"] if api else []
    return [
        *map(partial(deployed_line, paused=paused), deployed),
        "verify/each-run  after each training",
        *ui,
        "Ctrl-C ends it; runs that are under way save a training checkpoint first.",
    ]


def deployed_line(one: DeployedExperiment, paused: set[str]) -> str:
    """A training that is served, in a line."""
    state = "  paused in the Prefect UI" if one.experiment.name in paused else ""
    return f"train/{one.experiment.name}  {one.schedule.words or 'when asked to'}{state}"


def show_log() -> None:
    """Lets the terminal show the log of the flow runs, of which it shows nothing else."""
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "INFO")


def has_screen() -> bool:
    """Whether a browser could be seen."""
    return sys.stdout.isatty() and (
        sys.platform == "darwin" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    )
