"""The reports of the runs over HTTP, on this machine only: a link from the UI's page cannot lead to a file."""

import contextlib
import os
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

from flows.settings import LOOPBACK

#: The variable that tells flow runs where the runs' folders are found; `workflow serve` sets it for its own.
ADDRESS = "WORKFLOW_REPORTS_URL"


def report_url(run: str) -> str | None:
    """Where the report of a run is found; None if nobody has said where."""
    base = os.environ.get(ADDRESS)
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
def served_reports(runs: Path, port: int) -> Iterator[str]:
    """Hands out the runs' files while it lasts; yields their address, which flow runs that start meanwhile find.

    Args:
        runs: the folder of the runs; it need not be there yet.
        port: to listen on; 0 for any that is free.

    Raises:
        OSError: the port is taken.
    """
    server = ThreadingHTTPServer((LOOPBACK, port), partial(RunFiles, directory=str(runs)))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="reports", daemon=True)
    thread.start()
    os.environ[ADDRESS] = f"http://{LOOPBACK}:{server.server_port}"
    try:
        yield os.environ[ADDRESS]
    finally:
        del os.environ[ADDRESS]
        server.shutdown()
        server.server_close()
