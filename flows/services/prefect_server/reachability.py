"""Health check of a Prefect server that is not the project's own."""

import http.client
import json

from flows.environment.variables import is_on_loopback
from flows.services.prefect_server.server_process import RESPONSE_SECONDS, call_with_timeout

# Prefect's server responds with `true`.
HEALTH_BYTES = 1024


def why_unreachable(url: str) -> str | None:
    """Returns why a server that the user has configured cannot be used; None if it responds."""
    import urllib.error

    if not url.startswith(("http://", "https://")):
        return "the address must start with http:// or https://"
    try:
        return call_with_timeout(2 * RESPONSE_SECONDS, lambda: _check_health(url))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        return "another program answers there"
    except urllib.error.HTTPError as error:
        error.close()
        # A rejection is a response: this request has no credentials, but Prefect's client does.
        return f"HTTP {error.code}" if error.code >= 500 else None
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = str(getattr(error, "reason", error)) or type(error).__name__
        # Likewise, Prefect's client has its own settings for certificates.
        return None if "CERTIFICATE_VERIFY_FAILED" in reason else reason


def _check_health(url: str) -> str | None:
    """Returns why the response is not from a Prefect server; None if it may be.

    Raises:
        Exception: From urllib or json: no response, an error status, or an unexpected body.
    """
    import urllib.request

    proxies = [urllib.request.ProxyHandler({})] if is_on_loopback(url) else []
    with urllib.request.build_opener(*proxies).open(f"{url}/health", timeout=RESPONSE_SECONDS) as response:
        if "html" in response.headers.get("Content-Type", ""):
            return "it serves a web page, not an API: the address usually ends with /api"
        json.loads(response.read(HEALTH_BYTES))
        return None
