"""How a browser comes by the password of the project's own server without asking anybody for it.

A page of the server's, `/open/…`, takes it from the fragment of its own address, which browsers send to nobody, puts it
where Prefect's UI looks for it, and goes on to the page of the UI that its address names. The link with the password is
printed on terminals only; `workflow ui` hands it to the browser in a file, since other users see what programs are
started with.
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO
from urllib.parse import quote

from flows.environment.settings import Api
from flows.services.prefect_server.password import write_private

#: Where the page is; what comes after it is a path of the UI.
PATH = "/open"

# A link with a password that no longer counts leaves the browser the one that it has: any page may lead here.
SCRIPT = """
const page = "/" + location.pathname.replace(/^\\/open\\/*/, "") + location.search;
const ask = async () => {
  const password = btoa(decodeURIComponent(location.hash.slice(1)));
  history.replaceState(null, "", location.pathname);
  const answer = await fetch("/api/admin/version", {headers: {Authorization: `Basic ${password}`}});
  if (answer.ok) localStorage.setItem("prefect-password", password);
};
ask().catch(() => {}).then(() => {
  if (localStorage.getItem("prefect-password")) location.replace(page);
  else document.body.textContent =
    "This link has no password that counts: `workflow ui` opens one that has, `workflow server status` prints it.";
});
"""

HTML = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Prefect</title></head>
<body>Opening the Prefect UI…<script>{SCRIPT}</script></body></html>
"""

#: What that page may do: run its own script, ask its own server, and be framed by nobody.
POLICY = (
    f"default-src 'none'; script-src 'sha256-{base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()}'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class UiPage:
    """A page of the Prefect UI.

    Attributes:
        api: whose UI it is.
        path: of the page, from the slash on.
    """

    api: Api
    path: str = ""

    @property
    def address(self) -> str:
        """Where it is, for programs and for browsers that have the password."""
        return f"{self.api.ui_url}{self.path}"

    @property
    def key(self) -> str:
        """A link to it that brings the password along: for the owner's eyes only."""
        return self.key_at(self.api.own_base or self.api.url.removesuffix("/api"))

    def key_at(self, server: str) -> str:
        """Such a link to the server at an address."""
        return f"{server}{PATH}{self.path}#{quote(self.api.password or '', safe=':')}"

    def link(self, stream: TextIO) -> str:
        """What is printed of it: on a terminal, a link that works in any browser; elsewhere none that tells a secret.

        Nor is a password printed that the user has made up, who may use it elsewhere too.
        """
        return self.key if self.api.is_random and stream.isatty() else self.address


def write_opener(page: UiPage, home: Path) -> Path:
    """Writes a file that leads a browser to a page of the project's own UI, and brings the password along.

    Raises:
        OSError: it cannot be written.
    """
    path = home / "open.html"
    key = page.key_at(page.api.url.removesuffix("/api"))  # this machine's browser needs no proxy
    script = f"location.replace({json.dumps(key)})"  # which has no character that could end the script
    write_private(path, f'<!DOCTYPE html>\n<meta charset="utf-8"><title>Prefect</title>\n<script>{script}</script>\n')
    return path
