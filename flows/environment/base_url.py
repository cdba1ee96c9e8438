"""The base URL: where people on other machines reach the project, by a reverse proxy in front of its servers.

The proxy passes `/` on to the project's Prefect server, and `/reports/` to the reports of `workflow serve`. Every link
that is printed, sent or kept in a page then begins with the base URL.
"""

import os
import re
from dataclasses import dataclass

from flows.errors import InputError

VARIABLE = "WORKFLOW_BASE_URL"

#: A scheme, a host in ASCII, and a port or none.
FORM = re.compile(r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?P<port>:\d{1,5})?/?")

LAST_PORT = 65535

#: Ports that browsers leave out of what they send.
DEFAULT_PORTS = {"http": ":80", "https": ":443"}


@dataclass(frozen=True)
class BaseUrl:
    """A base URL, as browsers name it: in small letters, without the scheme's own port.

    Attributes:
        scheme: http or https.
        host: with the port, if it is not the scheme's own.
    """

    scheme: str
    host: str

    def __str__(self) -> str:
        """Also the origin of its pages."""
        return f"{self.scheme}://{self.host}"

    @property
    def reports(self) -> str:
        """Where the proxy has the reports."""
        return f"{self}/reports"


def base_url() -> BaseUrl | None:
    """The base URL that the environment names; None if it names none.

    Raises:
        InputError: it is none.
    """
    text = os.environ.get(VARIABLE)
    if not text:
        return None
    found = FORM.fullmatch(text)
    if found is None or int((found["port"] or ":0")[1:]) > LAST_PORT:
        raise InputError(f"{VARIABLE} must be like https://train.example.org or https://host:8443, not {text!r}")
    port = found["port"] or ""
    return BaseUrl(found["scheme"], (found["host"] + port * (port != DEFAULT_PORTS[found["scheme"]])).lower())
