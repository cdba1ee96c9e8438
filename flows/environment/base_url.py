"""The base URL: the address at which people on other machines reach the project, through a reverse proxy.

The proxy forwards `/` to the project's Prefect server and `/reports/` to the reports of `workflow serve`. Every link
that is printed, sent or stored in a page then starts with the base URL.
"""

import os
import re
from dataclasses import dataclass

from flows.errors import InputError

VARIABLE = "WORKFLOW_BASE_URL"

#: A scheme, an ASCII host and an optional port.
PATTERN = re.compile(r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?P<port>:\d{1,5})?/?")

MAX_PORT = 65535

#: Default ports, which browsers omit.
DEFAULT_PORTS = {"http": ":80", "https": ":443"}


@dataclass(frozen=True)
class BaseUrl:
    """A base URL in the form browsers use: lowercase, without the scheme's default port.

    Attributes:
        scheme: http or https.
        host: With the port, unless it is the scheme's default.
    """

    scheme: str
    host: str

    def __str__(self) -> str:
        """Returns the URL, which is also the origin of its pages."""
        return f"{self.scheme}://{self.host}"

    @property
    def reports(self) -> str:
        """The URL at which the proxy serves the reports."""
        return f"{self}/reports"


def base_url() -> BaseUrl | None:
    """Returns the base URL set in the environment; None if there is none.

    Raises:
        InputError: It is not a valid base URL.
    """
    text = os.environ.get(VARIABLE)
    if not text:
        return None
    found = PATTERN.fullmatch(text)
    if found is None or int((found["port"] or ":0")[1:]) > MAX_PORT:
        raise InputError(f"{VARIABLE} must be like https://train.example.org or https://host:8443, not {text!r}")
    port = found["port"] or ""
    return BaseUrl(found["scheme"], (found["host"] + port * (port != DEFAULT_PORTS[found["scheme"]])).lower())
