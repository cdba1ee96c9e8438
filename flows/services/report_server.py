"""The reports of the runs over HTTP, on this machine only: a link from the UI's page cannot lead to a file.

With them come the other files of each run, and index pages: of all runs, and of the files of one.
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
from flows.services.prefect_server.password import make_secret, signed
from flows.services.report_index import files_page, runs_page
from tasks.caching.runs.manifest import REPORT
from tasks.caching.storage.store import Store, UnusableFileError, read_file

LOG = logging.getLogger("workflow")

#: The variable that says where the runs' folders are found, if somebody else than `workflow serve` shows them.
ADDRESS = "WORKFLOW_REPORTS_URL"

#: Ports that are tried in turn: above those of Prefect's server, and the same each time, as pages keep the address.
PORTS = range(4300, 4400)

#: What a person reads who has followed a link that leads nowhere.
NOT_HERE = (
    "There is no such file of a run. Links from before the reports were kept from other users do not work any more: "
    "the reports themselves are in artifacts/runs."
)

#: Hexadecimal digits of the word that nobody can guess: 128 bits.
WORD_LETTERS = 32


def report_url(run: str, root: Path) -> str | None:
    """Where the report of a run is found; None if nobody shows it."""
    serving = serve_process.find(root)
    base = os.environ.get(ADDRESS) or (serving.reports if serving else None)
    return f"{base.rstrip('/')}/{quote(run)}/report.html" if base else None


def address_word(root: Path) -> str:
    """What the address of the reports begins with, which only the project's owner knows: every user can reach the port.

    It stays the same, as pages in the UI keep it.

    Raises:
        ServerError: the secret that it is made from cannot be used.
        OSError: it cannot be read or written.
    """
    return signed(make_secret(make_home(root)), "reports")[:WORD_LETTERS]


class RunFiles(SimpleHTTPRequestHandler):
    """Hands out the files of the runs and their index pages, and nothing else.

    Args:
        store: with the runs.
        word: that paths begin with.
        arguments: those of the standard library's handler.
    """

    #: Seconds that a silent client keeps a thread busy.
    timeout = 30

    def __init__(self, *arguments: Any, store: Store, word: str, **named: Any) -> None:
        self._store, self._word = store, word
        super().__init__(*arguments, directory=str(store.runs), **named)

    def send_head(self) -> Any:
        """Refuses what is no file of a run, and requests for a name that is not this machine's."""
        _, word, path = (*self.path.split("/", 2), "", "")[:3]
        if not is_own_name(self.headers.get("Host") or "") or not self._knows(word):
            return self.refuse()
        if self.path == f"/{word}":
            return self.lead_to(f"{word}/")
        self.path = f"/{path}"
        if not path:
            return self.send_page(runs_page(self._store))
        if folder := self._run_folder(path.removesuffix("/")):
            # Relative, since a proxy may have the page under another path.
            return self.send_page(files_page(folder)) if path.endswith("/") else self.lead_to(f"{path}/")
        if not self._is_of_a_run():
            return self.refuse()
        report = self._report(path)
        return super().send_head() if report is None else self.send_page(report)

    def refuse(self) -> None:
        """Answers that there is no such file."""
        self.send_error(404, explain=NOT_HERE)

    def lead_to(self, place: str) -> None:
        """Leads a browser to a page beside the one that it asked for."""
        self.send_response(301)
        self.send_header("Location", f"./{place}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send_page(self, text: str) -> io.BytesIO:
        """Sends the head of a page; returns its content."""
        content = text.encode(errors="replace")
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return io.BytesIO(content)

    def _run_folder(self, name: str) -> Path | None:
        """The folder of a run that is asked for by its name or by a pointer to it; None if there is none."""
        try:
            folder = Path(self.translate_path(f"/{name}")).resolve()
            return (
                folder if "/" not in name and folder.parent == self._store.runs.resolve() and folder.is_dir() else None
            )
        except (OSError, ValueError, RuntimeError):  # a name that no folder can have; a circle of links
            return None

    def _report(self, path: str) -> str | None:
        """The report of a run with what is known now; None for another file, and for the report of a damaged run."""
        name, _, file = path.partition("/")
        if file != REPORT:
            return None
        from flows.services.report_additions import (
            with_additions,
        )  # and jinja2 with it, which a run that links here does not need

        try:
            run = find_run(name, self._store)
            return with_additions(read_file(run.folder / REPORT).decode(), run, self._store)
        except (InputError, UnusableFileError, OSError, UnicodeDecodeError):
            return None

    def _knows(self, word: str) -> bool:
        return hmac.compare_digest(word.encode(errors="replace"), self._word.encode())

    def _is_of_a_run(self) -> bool:
        """Whether what is asked for is a file, and lies in the folder of the runs."""
        try:
            wanted = Path(self.translate_path(self.path))
            return wanted.is_file() and wanted.resolve().is_relative_to(Path(self.directory).resolve())
        except (OSError, ValueError):  # a name that no file can have
            return False

    def end_headers(self) -> None:
        """Adds that a page may load nothing that it does not carry itself, and tells its address to no other."""
        # A file of a run that the browser does not show is downloaded, which a sandbox forbids by itself.
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
    """Whether a request is for this machine, or for the base URL.

    A page of another site may have its name lead to this machine; its browser then asks for that name.
    """
    base = base_url()
    return host.rpartition(":")[0] in (LOOPBACK, "localhost") or (base is not None and host.lower() == base.host)


class ReportServer(ThreadingHTTPServer):
    """A server that a client which hangs up in the midst of an answer does not make print a traceback."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tells in a line of what is no fault of the client's."""
        error = sys.exception()
        if not isinstance(error, OSError):
            LOG.warning("a report could not be handed out (%s: %s)", type(error).__name__, error)


@contextlib.contextmanager
def served_reports(store: Store, ports: Iterable[int] = PORTS) -> Iterator[str]:
    """Hands out the runs' files while it lasts; yields their address, which is the base URL's if there is one.

    Args:
        store: with the runs, of which there need not be any yet.
        ports: to listen on, the first that is free.

    Raises:
        ServerError: none is, or the address cannot be made up.
        InputError: the base URL is none.
        OSError: the address cannot be made up.
    """
    base = base_url()
    word = address_word(store.root)
    server = first_server(partial(RunFiles, store=store, word=word), ports)
    thread = threading.Thread(target=server.serve_forever, name="reports", daemon=True)
    thread.start()
    try:
        yield f"{base.reports if base else f'http://{LOOPBACK}:{server.server_port}'}/{word}"
    finally:
        server.shutdown()
        server.server_close()


def first_server(handler: Callable[..., RunFiles], ports: Iterable[int]) -> ReportServer:
    """A server on the first port that is free.

    Raises:
        ServerError: none is.
    """
    for port in ports:
        with contextlib.suppress(OSError):
            return ReportServer((LOOPBACK, port), handler)
    raise ServerError("no port is free for the reports of the runs")
