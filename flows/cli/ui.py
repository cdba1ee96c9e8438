"""`workflow ui`: everything that there is to see, opened with one command."""

import sys
import time
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, cast
from uuid import UUID

from flows.cli.terminal.output import print_line, print_notice
from flows.environment.settings import Api, prefect_home
from flows.errors import InputError
from flows.runs.folders import RunFolder, find_run
from flows.runtime.session import prefect_session
from flows.services import serve_process
from flows.services.prefect_server.sign_in import UiPage, write_opener
from tasks.caching.storage.store import Store

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

#: Seconds until a run that was asked for counts as never ending, and between two looks for it.
PATIENCE, LOOK_SECONDS = 300.0, 0.2


class NoRunError(Exception):
    """The run that was asked for did not end well; the message says where to look."""


def show(store: Store, *, browse: bool) -> None:
    """Starts the server and `workflow serve`, has a run made and verified if none is, and says where all of it is.

    Raises:
        ServerError: the server or `workflow serve` cannot be started.
        NoRunError: the run failed.
    """
    with prefect_session(store.root, notify=print_notice) as found:
        api = cast(Api, found)  # only a server that ends with the session has none
        if serve_process.find(store.root) is None:
            print_notice("Starting `workflow serve` in the background (5 s).")
        serving = serve_process.start(store.root)
        run = verified_run(store)
        if run is None:
            print_notice("Having a first run trained and verified.")
            run = make_run(store, UiPage(api, "/runs").address)
    print_line(f"Prefect UI   {UiPage(api).link(sys.stdout)}")
    print_line(f"Deployments  {UiPage(api, '/deployments').link(sys.stdout)}")
    print_line(f"Report       {serving.reports}/{run.folder.name}/report.html")
    print_line("`workflow server stop` ends the server and `workflow serve`.")
    if browse:
        open_page(UiPage(api, "/runs"), prefect_home(store.root))


def open_page(page: UiPage, home: Path) -> None:
    """Opens a page of the UI in the user's browser, with the password if the server is the project's own."""
    webbrowser.open(write_opener(page, home).as_uri() if page.api.password else page.address)


def verified_run(store: Store) -> RunFolder | None:
    """The latest run, if it was verified."""
    try:
        run = find_run("latest", store)
    except InputError:
        return None
    return run if run.verified else None


def make_run(store: Store, address: str) -> RunFolder:
    """Has the preset `line` trained by who serves, and verified by who serves because it was trained.

    Raises:
        NoRunError: it failed, or did not end in time; names where to look.
    """
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("train/line")
        trained = client.create_flow_run_from_deployment(deployment.id).id
        deadline = time.monotonic() + PATIENCE
        while (run := verified_run(store)) is None:
            if has_failed(client, trained) or time.monotonic() > deadline:
                raise NoRunError(f"no run was trained and verified: see {address}")
            time.sleep(LOOK_SECONDS)
        return run


def has_failed(client: "SyncPrefectClient", flow_run_id: UUID) -> bool:
    """Whether a flow run ended otherwise than well."""
    state = client.read_flow_run(flow_run_id).state
    return state is not None and state.is_final() and not state.is_completed()
