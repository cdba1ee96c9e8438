"""The reports of the runs over HTTP, on this machine only: a link from the UI's page cannot lead to a file."""

import contextlib
import hmac
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

from flows import serve_process
from flows.output import tell
from flows.password import make_secret, signed
from flows.settings import LOOPBACK, ServerError, make_home
from tasks.caching.store import Store

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
    """Hands out the files of the runs, and nothing else.

    Args:
        word: that paths begin with.
        arguments: those of the standard library's handler.
    """

    #: Seconds that a silent client keeps a thread busy.
    timeout = 30

    def __init__(self, *arguments: Any, word: str, **named: Any) -> None:
        self._word = word
        super().__init__(*arguments, **named)

    def send_head(self) -> Any:
        """Refuses what is no file of a run, and whoever has not asked for this machine by its own name."""
        # A page of another site may have its name lead to this machine; its browser then asks for that name.
        host = (self.headers.get("Host") or "").rpartition(":")[0]
        _, word, path = (*self.path.split("/", 2), "", "")[:3]
        self.path = f"/{path}"
        if host not in (LOOPBACK, "localhost") or not self._knows(word) or not self._is_of_a_run():
            self.send_error(404, explain=NOT_HERE)
            return None
        return super().send_head()

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
        self.send_header(
            "Content-Security-Policy", "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox"
        )
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        super().end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 (its name in the standard library)
        """Logs nothing."""


class ReportServer(ThreadingHTTPServer):
    """A server that a client which hangs up in the midst of an answer does not make print a traceback."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tells in a line of what is no fault of the client's."""
        error = sys.exception()
        if not isinstance(error, OSError):
            tell(f"a report could not be handed out ({type(error).__name__}: {error})")


@contextlib.contextmanager
def served_reports(store: Store, ports: Iterable[int] = PORTS) -> Iterator[str]:
    """Hands out the runs' files while it lasts; yields their address.

    Args:
        store: with the runs, of which there need not be any yet.
        ports: to listen on, the first that is free.

    Raises:
        ServerError: none is, or the address cannot be made up.
        OSError: likewise.
    """
    word = address_word(store.root)
    server = first_server(partial(RunFiles, directory=str(store.runs), word=word), ports)
    thread = threading.Thread(target=server.serve_forever, name="reports", daemon=True)
    thread.start()
    try:
        yield f"http://{LOOPBACK}:{server.server_port}/{word}"
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
