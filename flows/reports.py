"""The reports of the runs over HTTP, on this machine only: a link from the UI's page cannot lead to a file."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

from flows import serve_process
from flows.settings import LOOPBACK, ServerError

#: The variable that says where the runs' folders are found, if somebody else than `workflow serve` shows them.
ADDRESS = "WORKFLOW_REPORTS_URL"

#: Ports that are tried in turn: above those of Prefect's server, and the same each time, as pages keep the address.
PORTS = range(4300, 4400)


def report_url(run: str, root: Path) -> str | None:
    """Where the report of a run is found; None if nobody shows it."""
    serving = serve_process.find(root)
    base = os.environ.get(ADDRESS) or (serving.reports if serving else None)
    return f"{base.rstrip('/')}/{quote(run)}/report.html" if base else None


class RunFiles(SimpleHTTPRequestHandler):
    """Hands out the files of the runs, and nothing else."""

    def send_head(self) -> Any:
        """Refuses what is no file of a run, and whoever has not asked for this machine by its own name."""
        wanted = Path(self.translate_path(self.path))
        runs = Path(self.directory).resolve()
        # A page of another site may have its name lead to this machine; its browser then asks for that name.
        host = (self.headers.get("Host") or "").rpartition(":")[0]
        if host not in (LOOPBACK, "localhost") or not wanted.is_file() or not wanted.resolve().is_relative_to(runs):
            self.send_error(404)
            return None
        return super().send_head()

    def end_headers(self) -> None:
        """Adds that a page may load nothing that it does not carry itself."""
        self.send_header(
            "Content-Security-Policy", "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox"
        )
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 (its name in the standard library)
        """Logs nothing."""


@contextlib.contextmanager
def served_reports(runs: Path, ports: Iterable[int] = PORTS) -> Iterator[str]:
    """Hands out the runs' files while it lasts; yields their address.

    Args:
        runs: the folder of the runs; it need not be there yet.
        ports: to listen on, the first that is free.

    Raises:
        ServerError: none is.
    """
    server = first_server(partial(RunFiles, directory=str(runs)), ports)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="reports", daemon=True)
    thread.start()
    try:
        yield f"http://{LOOPBACK}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def first_server(handler: Callable[..., RunFiles], ports: Iterable[int]) -> ThreadingHTTPServer:
    """A server on the first port that is free.

    Raises:
        ServerError: none is.
    """
    for port in ports:
        with contextlib.suppress(OSError):
            return ThreadingHTTPServer((LOOPBACK, port), handler)
    raise ServerError("no port is free for the reports of the runs")
