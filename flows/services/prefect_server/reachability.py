"""Whether a server that others run answers as Prefect's does."""

import http.client
import json

from flows.environment.variables import is_on_loopback
from flows.services.prefect_server.server_process import ANSWER_SECONDS, within

# Prefect's server says `true` when it is asked how it is.
HEALTH_BYTES = 1024


def why_unreachable(url: str) -> str | None:
    """Why a server that others run cannot be used, or None if it answers."""
    import urllib.error

    if not url.startswith(("http://", "https://")):
        return "the address must start with http:// or https://"
    try:
        return within(2 * ANSWER_SECONDS, lambda: _ask_health(url))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        return "another program answers there"
    except urllib.error.HTTPError as error:
        error.close()
        # A refusal is an answer: Prefect's client brings the credentials that this question does without.
        return f"HTTP {error.code}" if error.code >= 500 else None
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = str(getattr(error, "reason", error)) or type(error).__name__
        # Likewise: Prefect's client has its own settings for certificates.
        return None if "CERTIFICATE_VERIFY_FAILED" in reason else reason


def _ask_health(url: str) -> str | None:
    """Why what answers is no server of Prefect's, or None if it may be.

    Raises:
        Exception: of urllib or json: it does not answer, refuses, or answers something else.
    """
    import urllib.request

    proxies = [urllib.request.ProxyHandler({})] if is_on_loopback(url) else []
    with urllib.request.build_opener(*proxies).open(f"{url}/health", timeout=ANSWER_SECONDS) as response:
        if "html" in response.headers.get("Content-Type", ""):
            return "it serves a web page, not an API: the address usually ends with /api"
        json.loads(response.read(HEALTH_BYTES))
        return None
