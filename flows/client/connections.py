"""Connections of Prefect's clients: no proxy for a server on this machine, and no connection the server may be closing.

A proxy named in the environment must not be used for a server on this machine, and httpx cannot even create a client if
it is a SOCKS proxy and the library for that is missing. The server closes a connection that was idle for 5 seconds, but
Prefect's clients keep one for 25: a request sent every 5 seconds hits a connection that is just being closed.

Importing this module patches every client of the process.
"""

import functools
from typing import Any

from httpx import AsyncClient, Client, Limits
from prefect.client.base import PrefectHttpxAsyncClient, PrefectHttpxSyncClient

from flows.environment.variables import is_on_loopback

#: How long an idle connection is kept, in seconds; less than uvicorn's 5, the default of Prefect's servers.
KEEPALIVE_SECONDS = 3.0


def with_connection_options(options: dict[str, Any]) -> dict[str, Any]:
    """Returns the options of a client with these changes."""
    limits: Limits = options.get("limits") or Limits(max_connections=16, max_keepalive_connections=8)
    kept = Limits(
        max_connections=limits.max_connections,
        max_keepalive_connections=limits.max_keepalive_connections,
        keepalive_expiry=KEEPALIVE_SECONDS,
    )
    direct = {"trust_env": False} if is_on_loopback(str(options.get("base_url", ""))) else {}
    return options | {"limits": kept} | direct


def install() -> None:
    """Patches all of Prefect's clients."""
    clients: tuple[type[Client | AsyncClient], ...] = (PrefectHttpxSyncClient, PrefectHttpxAsyncClient)
    for client in clients:
        client.__init__ = patch_constructor(client.__init__)  # type: ignore[method-assign]


def patch_constructor(init: Any) -> Any:
    """Wraps the constructor of a client to change its options."""

    @functools.wraps(init)
    def patched(*arguments: Any, **options: Any) -> None:
        init(*arguments, **with_connection_options(options))

    return patched


install()
