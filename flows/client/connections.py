"""How Prefect's clients reach their server: without a proxy on this machine, and on no connection that it may close.

A proxy that the environment names is none of theirs if the server is on this machine; and httpx cannot even make a
client where it is one of SOCKS and the library for that is missing. A connection that was not used for 5 seconds, the
server closes, but Prefect's clients keep one for 25: what is sent every 5 seconds comes just when it is closed.

Every client of the process is made so as soon as this module is imported.
"""

import functools
from typing import Any

from httpx import AsyncClient, Client, Limits
from prefect.client.base import PrefectHttpxAsyncClient, PrefectHttpxSyncClient

from flows.environment.variables import is_on_loopback

#: Seconds for which a connection is kept; fewer than uvicorn's 5, with which most servers of Prefect's run.
KEPT_SECONDS = 3.0


def arranged(options: dict[str, Any]) -> dict[str, Any]:
    """The options of a client, so arranged."""
    limits: Limits = options.get("limits") or Limits(max_connections=16, max_keepalive_connections=8)
    kept = Limits(
        max_connections=limits.max_connections,
        max_keepalive_connections=limits.max_keepalive_connections,
        keepalive_expiry=KEPT_SECONDS,
    )
    direct = {"trust_env": False} if is_on_loopback(str(options.get("base_url", ""))) else {}
    return options | {"limits": kept} | direct


def install() -> None:
    """Has all clients of Prefect's be made so."""
    clients: tuple[type[Client | AsyncClient], ...] = (PrefectHttpxSyncClient, PrefectHttpxAsyncClient)
    for client in clients:
        client.__init__ = make(client.__init__)  # type: ignore[method-assign]


def make(init: Any) -> Any:
    """The method with which a client is made, with its options arranged."""

    @functools.wraps(init)
    def arrange(*arguments: Any, **options: Any) -> None:
        init(*arguments, **arranged(options))

    return arrange


install()
