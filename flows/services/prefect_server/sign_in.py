"""How a browser gets the password of the project's own server without asking the user for it.

A page of the server, `/open/…`, takes it from the fragment of its own URL, which browsers never send, stores it where
Prefect's UI expects it, and redirects to the page of the UI named in its path. The link with the password is printed on
terminals only; `workflow ui` passes it to the browser in a file, since other users can see the arguments of processes.
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

#: Where the page is; the rest of the path is a path of the UI.
PATH = "/open"

# A link with an outdated password does not replace the one in the browser: any page may link here.
SCRIPT = """
const page = "/" + location.pathname.replace(/^\\/open\\/*/, "") + location.search;
const signIn = async () => {
  const password = btoa(decodeURIComponent(location.hash.slice(1)));
  history.replaceState(null, "", location.pathname);
  const answer = await fetch("/api/admin/version", {headers: {Authorization: `Basic ${password}`}});
  if (answer.ok) localStorage.setItem("prefect-password", password);
};
signIn().catch(() => {}).then(() => {
  if (localStorage.getItem("prefect-password")) location.replace(page);
  else document.body.textContent =
    "This link has no valid password: `workflow ui` opens one that has, `workflow server status` prints it.";
});
"""

HTML = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Prefect</title></head>
<body>Opening the Prefect UI…<script>{SCRIPT}</script></body></html>
"""

#: What that page may do: run its own script and query its own server; it cannot be framed.
POLICY = (
    f"default-src 'none'; script-src 'sha256-{base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()}'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class UiPage:
    """A page of the Prefect UI.

    Attributes:
        api: Whose UI it is.
        path: Of the page, starting with the slash.
    """

    api: Api
    path: str = ""

    @property
    def address(self) -> str:
        """Its plain URL, for programs and for browsers that have the password."""
        return f"{self.api.ui_url}{self.path}"

    @property
    def sign_in_url(self) -> str:
        """A link to it that contains the password: only for the owner."""
        return self.sign_in_url_at(self.api.own_base or self.api.url.removesuffix("/api"))

    def sign_in_url_at(self, server: str) -> str:
        """Returns such a link to the server at a URL."""
        return f"{server}{PATH}{self.path}#{quote(self.api.password or '', safe=':')}"

    def link(self, stream: TextIO) -> str:
        """Returns the link to print: on a terminal, one that signs in any browser; elsewhere, one without password.

        A password that the user has chosen is never printed, since it may be used elsewhere, too.
        """
        return self.sign_in_url if self.api.is_random and stream.isatty() else self.address


def write_opener(page: UiPage, home: Path) -> Path:
    """Writes a file that opens a page of the project's own UI in a browser, with the password.

    Raises:
        OSError: It cannot be written.
    """
    path = home / "open.html"
    url = page.sign_in_url_at(page.api.url.removesuffix("/api"))  # a browser on this machine does not need the proxy
    script = f"location.replace({json.dumps(url)})"  # contains no character that could end the script
    write_private(path, f'<!DOCTYPE html>\n<meta charset="utf-8"><title>Prefect</title>\n<script>{script}</script>\n')
    return path
