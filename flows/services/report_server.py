"""Serves the reports of the runs over HTTP, on this machine only: links in Prefect's UI cannot point to files.

It also serves the other files of each run, and index pages: of all runs, and of the files of one run.
"""

import contextlib
import hmac
import io
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

from flows.environment.base_url import base_url
from flows.environment.settings import LOOPBACK, ServerError, make_home
from flows.errors import InputError
from flows.runs.folders import find_run
from flows.services import serve_process
from flows.services.prefect_server.password import ensure_secret, sign
from flows.services.report_index import files_page, runs_page
from tasks.caching.runs.manifest import REPORT
from tasks.caching.storage.store import Store, UnusableFileError, read_file

LOG = logging.getLogger("workflow")

#: The variable with the URL of the runs' folders, if something other than `workflow serve` serves them.
REPORTS_URL_VARIABLE = "WORKFLOW_REPORTS_URL"

#: The ports to try, in order: above those of Prefect's server, and always the same, since pages link to them.
PORTS = range(4300, 4400)

#: Shown for a broken link.
NOT_FOUND = (
    "There is no such file of a run. Links without a secret path, from earlier versions, no longer work: "
    "the reports are in artifacts/runs."
)

#: Hexadecimal digits of the secret path segment: 128 bits.
TOKEN_LENGTH = 32


def report_url(run: str, root: Path) -> str | None:
    """Returns the URL of a run's report; None if no server serves it."""
    serving = serve_process.find(root)
    base = os.environ.get(REPORTS_URL_VARIABLE) or (serving.reports if serving else None)
    return f"{base.rstrip('/')}/{quote(run)}/report.html" if base else None


def reports_token(root: Path) -> str:
    """Returns the secret first segment of the report server's paths: every user of the machine can connect to its port.

    It never changes, since pages in the UI link to it.

    Raises:
        ServerError: The secret it is derived from cannot be used.
        OSError: The secret cannot be read or written.
    """
    return sign(ensure_secret(make_home(root)), "reports")[:TOKEN_LENGTH]


class RunFiles(SimpleHTTPRequestHandler):
    """Serves the files of the runs and their index pages, and nothing else.

    Args:
        store: With the runs.
        token: The first segment of valid paths.
        arguments: Those of the standard library's handler.
    """

    #: Seconds after which an idle client is disconnected.
    timeout = 30

    def __init__(self, *arguments: Any, store: Store, token: str, **named: Any) -> None:
        self._store, self._token = store, token
        super().__init__(*arguments, directory=str(store.runs), **named)

    def send_head(self) -> Any:
        """Rejects requests that are not for a file of a run, or whose Host is not this machine."""
        _, token, path = (*self.path.split("/", 2), "", "")[:3]
        if not is_own_name(self.headers.get("Host") or "") or not self._is_token(token):
            return self.send_not_found()
        if self.path == f"/{token}":
            return self.redirect_to(f"{token}/")
        self.path = f"/{path}"
        if not path:
            return self.send_page(runs_page(self._store))
        if folder := self._run_folder(path.removesuffix("/")):
            # Relative, since a proxy may serve the page under another path.
            return self.send_page(files_page(folder)) if path.endswith("/") else self.redirect_to(f"{path}/")
        if not self._is_run_file():
            return self.send_not_found()
        report = self._report(path)
        return super().send_head() if report is None else self.send_page(report)

    def send_not_found(self) -> None:
        """Responds that there is no such file."""
        self.send_error(404, explain=NOT_FOUND)

    def redirect_to(self, place: str) -> None:
        """Redirects to a relative path."""
        self.send_response(301)
        self.send_header("Location", f"./{place}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send_page(self, text: str) -> io.BytesIO:
        """Sends the headers of a page; returns its content."""
        content = text.encode(errors="replace")
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return io.BytesIO(content)

    def _run_folder(self, name: str) -> Path | None:
        """Returns the folder of a run requested by its name or by a pointer; None if there is none."""
        try:
            folder = Path(self.translate_path(f"/{name}")).resolve()
            return (
                folder if "/" not in name and folder.parent == self._store.runs.resolve() and folder.is_dir() else None
            )
        except (OSError, ValueError, RuntimeError):  # an invalid name; a cycle of symlinks
            return None

    def _report(self, path: str) -> str | None:
        """Returns a run's report with its additions; None for any other file and for a damaged run."""
        name, _, file = path.partition("/")
        if file != REPORT:
            return None
        # Imports jinja2, which a run that only links here does not need.
        from flows.services.report_additions import with_additions

        try:
            run = find_run(name, self._store)
            return with_additions(read_file(run.folder / REPORT).decode(), run, self._store)
        except (InputError, UnusableFileError, OSError, UnicodeDecodeError):
            return None

    def _is_token(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(errors="replace"), self._token.encode())

    def _is_run_file(self) -> bool:
        """Whether the requested path is a file inside the folder of the runs."""
        try:
            wanted = Path(self.translate_path(self.path))
            return wanted.is_file() and wanted.resolve().is_relative_to(Path(self.directory).resolve())
        except (OSError, ValueError):  # an invalid name
            return False

    def end_headers(self) -> None:
        """Adds headers with which a page loads nothing external and does not leak its URL."""
        # Files that the browser does not display are downloaded, which a sandbox forbids by default.
        self.send_header(
            "Content-Security-Policy",
            "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox allow-downloads",
        )
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        super().end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 (its name in the standard library)
        """Logs nothing."""


def is_own_name(host: str) -> bool:
    """Whether a request is for this machine or for the base URL.

    Another site can let its name resolve to this machine; a browser's request then carries that name.
    """
    base = base_url()
    return host.rpartition(":")[0] in (LOOPBACK, "localhost") or (base is not None and host.lower() == base.host)


class ReportServer(ThreadingHTTPServer):
    """A server that prints no traceback when a client disconnects during a response."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Logs an error in one line, unless the client caused it."""
        error = sys.exception()
        if not isinstance(error, OSError):
            LOG.warning("a report could not be served (%s: %s)", type(error).__name__, error)


@contextlib.contextmanager
def served_reports(store: Store, ports: Iterable[int] = PORTS) -> Iterator[str]:
    """Serves the runs' files during the context; yields their URL, based on the base URL if there is one.

    Args:
        store: With the runs; there may be none yet.
        ports: To listen on; the first free one is used.

    Raises:
        ServerError: No port is free, or the secret cannot be used.
        InputError: The base URL is invalid.
        OSError: The secret cannot be read or written.
    """
    base = base_url()
    token = reports_token(store.root)
    server = first_server(partial(RunFiles, store=store, token=token), ports)
    thread = threading.Thread(target=server.serve_forever, name="reports", daemon=True)
    thread.start()
    try:
        yield f"{base.reports if base else f'http://{LOOPBACK}:{server.server_port}'}/{token}"
    finally:
        server.shutdown()
        server.server_close()


def first_server(handler: Callable[..., RunFiles], ports: Iterable[int]) -> ReportServer:
    """Returns a server on the first free port.

    Raises:
        ServerError: No port is free.
    """
    for port in ports:
        with contextlib.suppress(OSError):
            return ReportServer((LOOPBACK, port), handler)
    raise ServerError("no port is free for the reports of the runs")
