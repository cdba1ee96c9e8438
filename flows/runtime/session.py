"""What surrounds a flow that is called directly: Prefect set up before it is imported, and a server to report to."""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from flows.environment.checkout import require_own_environment
from flows.environment.settings import Api, configure_prefect, prefect_home, use_api
from flows.environment.validation import readable_settings
from flows.environment.variables import drop_run_variables
from flows.errors import InputError
from flows.runtime.zombie_runs import mark_zombie_runs
from tasks.caching.code.sources import PROJECT
from tasks.caching.storage.errors import require_descriptors
from tasks.caching.storage.store import project_store

#: Python prints its warnings on the error stream, unless a program has set up logging in its own way.
LOG = logging.getLogger("workflow")

#: The error if the server stops answering, or never did.
SILENT = (
    "Prefect's server stopped answering ({why}). What is finished is kept: the same command "
    "starts the project's own server again if need be, and continues from there"
)
REFUSED = (
    "Prefect's server refuses to answer ({why}): set PREFECT_API_AUTH_STRING to its user:password "
    "(`workflow server env` prints that of the project's own server), or PREFECT_API_KEY for Prefect Cloud"
)
REFUSED_BY_OWN = (
    "the project's own Prefect server refuses to answer ({why}): another program may have its port now, or "
    "PREFECT_CLIENT_CUSTOM_HEADERS sets Host or Authorization. Unset those, or end the server with "
    "`workflow server stop`, and try again"
)


@contextlib.contextmanager
def prefect_session(
    root: Path | None = None, *, ephemeral: bool = False, notify: Callable[[str], None] = LOG.warning
) -> Iterator[Api | None]:
    """Sets Prefect up for flows that are called inside; yields the API that they report to, None if it ends with them.

    Args:
        root: of the project, whichever folder this is called in: the one that WORKFLOW_HOME names, or else the checkout
            of this code. Another one is refused.
        ephemeral: use a server that ends with this process, whatever other is there.
        notify: gets a line on what takes a while; a logger when not given, which prints it on the error stream.

    Raises:
        InputError: another folder is named, the interpreter is that of another checkout, or Prefect cannot take the
            project's folder or a setting.
        ServerError: the server that is to be used does not answer or stops answering, or the project's own cannot be
            started, or its database is of a later version of Prefect.
        OSError: too few files can be opened, or a damaged database cannot be moved aside.
    """
    require_own_environment()
    require_descriptors()
    root = project_root(root)
    notify_new_folder(root, notify)
    configure(root)
    with chosen_server(root, notify, ephemeral=ephemeral) as (api, wait_for_server):
        import_prefect(root)
        wait_for_server()  # it came up while Prefect was imported here
        with direct_flows(notify):
            if not ephemeral:
                mark_zombie_runs(root, notify)
            with explained_silence(api, root):
                yield api


def configure(root: Path) -> None:
    """Sets the environment variables that Prefect reads when it is imported."""
    configure_prefect(root)
    drop_run_variables(os.environ)
    # The caller shows the stages in its own way; the flow run's log, with everything, is in the UI.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_DEBUG_LEVEL", "CRITICAL")


@contextlib.contextmanager
def chosen_server(
    root: Path, notify: Callable[[str], None], *, ephemeral: bool
) -> Iterator[tuple[Api | None, Callable[[], None]]]:
    """Has Prefect use a server; yields its API, None of one that ends with this process, and what waits for it.

    Raises:
        ServerError: as `prefect_session`.
    """
    from flows.services.prefect_server.server import find_api
    from flows.services.prefect_server.temporary import temporary_server

    if ephemeral:
        with temporary_server(root, notify) as temporary:
            use_api(temporary.api)
            yield None, temporary.wait
    else:
        api = find_api(root, notify)
        use_api(api)
        yield api, lambda: None


def import_prefect(root: Path) -> None:
    """Imports Prefect, which reads its settings.

    Raises:
        InputError: one of them is invalid.
    """
    # Prefect makes its home at its import, but warns if the folder that this lies in is not there.
    root.mkdir(parents=True, exist_ok=True)
    with readable_settings():
        import prefect.settings  # noqa: F401

        import flows.runtime.connection  # noqa: F401


@contextlib.contextmanager
def direct_flows(notify: Callable[[str], None]) -> Iterator[None]:
    """Surrounds flows that this process calls."""
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from flows.runtime.connection import keeping_contact

    # A flow waits for its heartbeat's thread when it ends, for up to a second. The heartbeat is for runs whose
    # process is watched from elsewhere; the caller of a flow sees it end.
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}), keeping_contact(notify):
        yield


@contextlib.contextmanager
def explained_silence(api: Api | None, root: Path) -> Iterator[None]:
    """Surrounds flows: the error that a server does not answer says which one, and what to do.

    Raises:
        ServerError: in its place.
    """
    from flows.runtime.connection import is_refusal, reason, silence_behind
    from flows.services.prefect_server.server import ServerError, diagnose

    try:
        yield
    except Exception as error:
        if (silence := silence_behind(error)) is None:
            raise
        why = diagnose(api, root) or reason(silence)
        refused = REFUSED if api is None or api.external else REFUSED_BY_OWN
        raise ServerError((refused if is_refusal(silence) else SILENT).format(why=why)) from error


def project_root(named: Path | None) -> Path:
    """The project's folder, in which flows work.

    Raises:
        InputError: another one is named.
    """
    root = project_store().root
    if named is not None and named.resolve() != root.resolve():
        raise InputError(
            f"flows work in {root}, not in {named}: leave it out, or name it in WORKFLOW_HOME before Python starts"
        )
    return root


def notify_new_folder(root: Path, notify: Callable[[str], None]) -> None:
    """Says where everything will be if no folder was chosen, and the current one is new."""
    is_chosen = os.environ.get("WORKFLOW_HOME") or (PROJECT / "pyproject.toml").is_file()
    if not is_chosen and not prefect_home(root).exists():
        notify(f"working in {root}, where data, artifacts and .prefect will be; WORKFLOW_HOME names another folder")
