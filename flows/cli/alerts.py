"""The commands `workflow alerts …`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from flows.cli.arguments import AsJson
from flows.cli.terminal.output import print_json, print_line, print_notice
from flows.environment.identity import identity
from flows.runs.folders import list_runs
from tasks.caching.storage.store import Store, project_store

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

alerts_app: App = App(
    name="alerts",
    help="Notify a person when a training or a verification failed, or when no run was verified for long.",
)


@alerts_app.command
def create(
    url: Annotated[str, Parameter(help="Where alerts go: a URL of apprise, such as ntfy://ntfy.sh/my-trainings.")],
    /,
    *,
    fresh: Annotated[
        str | None, Parameter(help="Alert too when an experiment has no new verified run for so long, such as 26h.")
    ] = None,
    count_unchanged: Annotated[
        bool, Parameter(negative=(), help="With --fresh: an unchanged run that is found or verified again will do.")
    ] = False,
    drift: Annotated[
        bool, Parameter(negative=(), help="Alert too when a run is outside the band of the runs before.")
    ] = False,
    experiment: Annotated[
        list[str] | None,
        Parameter(
            negative=(),
            help="The only experiment that --fresh is about; may be repeated. All when not given.",
        ),
    ] = None,
) -> None:
    """Make the alerts, in place of those that there are; they go to any URL of apprise, such as ntfy://… or mailto://….

    Prefect's server sends them, as automations. The URL is kept encrypted in its database.
    """
    from flows.deploy import alerts

    with prefect_client() as client:
        store = identity(project_store().root)
        about = alerts.AlertSettings(fresh, tuple(experiment or ()), count_unchanged, drift)
        alerts.create_alerts(client, store, url, about, experiment or experiments_with_runs(project_store()))
        print_alerts(client, store, as_json=False)


@alerts_app.command(name="list")
def list_alerts(*, as_json: AsJson = False) -> None:
    """List the alerts, and where they go."""
    with prefect_client() as client:
        print_alerts(client, identity(project_store().root), as_json=as_json)


@alerts_app.command(name="try")
def try_out() -> None:
    """Send a trial, the way that a real alert would take."""
    from flows.deploy import alerts

    with prefect_client() as client:
        alerts.try_alerts(client, identity(project_store().root))
    print_line("The server was asked to send a trial; it should arrive within seconds.")


@alerts_app.command
def remove() -> None:
    """Remove the alerts, and the URL with them."""
    from flows.deploy import alerts

    with prefect_client() as client:
        count = alerts.remove_alerts(client, identity(project_store().root))
    print_line(f"{count} alerts were removed.")


def print_alerts(client: "SyncPrefectClient", store: str, *, as_json: bool) -> None:
    """Prints the alerts about a store, and where they go."""
    from flows.deploy import alerts

    found = {alert.name.removeprefix(alerts.PREFIX): alert.enabled for alert in alerts.read_alerts(client, store)}
    address = alerts.destination(client, store)
    if as_json:
        print_json({"url": address, "alerts": found})
    elif found:
        for name, enabled in found.items():
            print_line(f"{name}{'' if enabled else '  (paused)'}")
        print_line(f"They go to {address}; `workflow alerts try` sends one.")
    else:
        print_line("There are no alerts: `workflow alerts create URL` makes some.")


def experiments_with_runs(store: Store) -> list[str]:
    """The names of the experiments that have runs, in order."""
    runs, _ = list_runs(store)
    return sorted({str(run.manifest.experiment["name"]) for run in runs})


@contextmanager
def prefect_client() -> "Iterator[SyncPrefectClient]":
    """A client of the server that flows report to."""
    from flows.runtime.session import prefect_session

    with prefect_session(project_store().root, notify=print_notice):
        from prefect.client.orchestration import get_client

        with get_client(sync_client=True) as client:
            yield client
