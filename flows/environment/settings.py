"""Prefect's settings: the environment in which it is imported, and the API that the user has configured.

Nothing in this module imports Prefect: its settings only take effect if they are in place before the first import.
"""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from flows.config.toml_file import has_mark, read_toml
from flows.environment.base_url import base_url
from flows.environment.variables import (
    REQUEST_TIMEOUT,
    pin,
    reach_loopback_directly,
    require_usable,
    require_utf8,
    set_variable,
)

LOOPBACK = "127.0.0.1"

#: The files in the working directory that Prefect reads after `.env`, and the table with its settings.
TOML_FILES: tuple[tuple[Path, tuple[str, ...]], ...] = (
    (Path("prefect.toml"), ()),
    (Path("pyproject.toml"), ("tool", "prefect")),
)


class ServerError(RuntimeError):
    """A Prefect server cannot be found, reached, started or stopped; the message says what to do."""


@dataclass(frozen=True)
class Api:
    """A Prefect API and, unless it is the project's own, where its address was set.

    Attributes:
        url: Of the API.
        named_in: Where the user has set the address; None for the project's own API.
        password: Of the project's own server; for others, Prefect's client finds it by itself.
        is_random: Whether the project generated the password, so that links may contain it.
    """

    url: str
    named_in: str | None = None
    password: str | None = field(default=None, repr=False, compare=False)
    is_random: bool = field(default=False, compare=False)

    @property
    def external(self) -> bool:
        """Whether the server is not the project's own: it is never started or stopped here."""
        return self.named_in is not None

    @property
    def ui_url(self) -> str:
        """The URL of the UI, derived from the URL of the API in the same way as Prefect does."""
        cloud = self.url.replace("https://api.prefect.cloud/api", "https://app.prefect.cloud")
        if cloud != self.url:
            return cloud.replace("/accounts/", "/account/").replace("/workspaces/", "/workspace/")
        return os.environ.get("PREFECT_UI_URL") or self.own_base or self.url.removesuffix("/api")

    @property
    def own_base(self) -> str:
        """The base URL at which a reverse proxy serves the project's own server; empty if there is none.

        Raises:
            InputError: The environment sets an invalid one.
        """
        base = None if self.external else base_url()
        return str(base) if base else ""


def prefect_home(root: Path) -> Path:
    """Returns the folder inside the project with Prefect's database, its logs and the state of the server.

    Raises:
        InputError: Prefect cannot handle its path.
    """
    home = root.resolve() / ".prefect"
    require_utf8("the project's folder", str(home.parent), "rename it, or name another in WORKFLOW_HOME")
    return home


def make_home(root: Path) -> Path:
    """Creates that folder if needed and restricts it to its owner: the database contains Prefect's secrets.

    Raises:
        OSError: It cannot be created.
    """
    home = prefect_home(root)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if home.stat().st_mode & 0o077:
        with contextlib.suppress(OSError):  # a file system without permissions
            home.chmod(0o700)
    return home


def user_home(root: Path) -> Path:
    """Returns the user's home folder; Prefect's, inside the project, for users without one, as in many containers.

    Raises:
        InputError: Prefect cannot handle its path.
    """
    with contextlib.suppress(RuntimeError):  # no HOME, and no entry in the list of users
        if os.access(home := Path.home(), os.X_OK):
            return home
    return prefect_home(root)


def prefect_defaults(root: Path) -> dict[str, str]:
    """Returns the project's defaults for Prefect: no telemetry, a home of its own, no database collisions."""
    return {
        "PREFECT_HOME": str(prefect_home(root)),
        # Turns off telemetry of both the server and its web pages.
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        # The V2 UI queries a server of Amplitude's as soon as it is opened, whatever is set.
        "PREFECT_SERVER_UI_V2_ENABLED": "false",
        # Each stage would be logged twice: the flow run's log already says how it ended, and why.
        "PREFECT_LOGGING_LOGGERS_PREFECT_TASK_RUNS_LEVEL": "WARNING",
        # One transaction for many task runs: with one each, SQLite's writers collide and clients back off silently.
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
        # An alert that became due while the server was down is sent when it is back; by default, only within a minute.
        "PREFECT_SERVER_EVENTS_EXPIRED_BUCKET_BUFFER": "P365D",
        # A request to a server that hangs waits twice as long as the server waits for its database, four times in
        # all. If the server is down, the retries span 14 s, in which it may have been restarted.
        REQUEST_TIMEOUT: "20",
        "PREFECT_CLIENT_MAX_RETRIES": "3",
        # Longer than Prefect's clients keep a connection, which is otherwise closed just when it is used again.
        "PREFECT_SERVER_API_KEEPALIVE_TIMEOUT": "60",
    }


def configure_prefect(root: Path, api: Api | None = None) -> None:
    """Sets the project's defaults, and the API to use, in the environment. Call it before Prefect is first imported.

    The user's settings take precedence, except for those listed in `flows.environment.variables`.

    Raises:
        InputError: Prefect cannot handle the project's folder or a setting in the environment.
        ServerError: The file `.env` in the working directory cannot be read.
    """
    load_dotenv()
    require_usable(os.environ)
    # Prefect looks up the home folder when it is imported, whatever is set.
    os.environ["HOME"] = str(user_home(root))
    profiles = _profiles_path(root)
    if profiles.is_file():
        # Set explicitly: with a changed PREFECT_HOME, Prefect would look elsewhere and miss the user's keys.
        os.environ.setdefault("PREFECT_PROFILES_PATH", str(profiles.absolute()))
    for name, value in prefect_defaults(root).items():
        os.environ.setdefault(name, value)
    pin(os.environ, prefect_home(root))
    if api:
        use_api(api)
    reach_loopback_directly(os.environ)


def use_api(api: Api) -> None:
    """Sets which API this process and its children use, and the password of the project's own server."""
    set_api_url(api.url)
    reach_loopback_directly(os.environ, api.url)
    if api.own_base:
        os.environ.setdefault("PREFECT_UI_URL", api.own_base)
    if api.password:
        os.environ["PREFECT_API_AUTH_STRING"] = api.password


def set_api_url(url: str) -> None:
    """Makes Prefect use an API, whatever is configured elsewhere; an empty URL means none."""
    set_variable(os.environ, "PREFECT_API_URL", url)


def load_dotenv() -> None:
    """Loads Prefect's settings from `.env` into the environment, so that they apply here as they do in Prefect.

    Except for the URL of the API, whose origin is reported, and the profile, which Prefect does not read from there.

    Raises:
        ServerError: The file cannot be read.
    """
    for name, value in _read_dotenv().items():
        if name not in ("PREFECT_API_URL", "PREFECT_PROFILE"):
            os.environ.setdefault(name, value)


def server_environment(root: Path, port: int) -> dict[str, str]:
    """Returns the environment of the project's own server on `port`.

    It keeps the user's settings for a server, but not those that say how to reach another server or that would move
    this one to an address where its clients do not look.
    """
    left_out = {
        "PREFECT_API_URL",
        "PREFECT_PROFILE",
        "PREFECT_PROFILES_PATH",
        "PREFECT_SERVER_API_BASE_PATH",
        "PREFECT_SERVER_UI_SERVE_BASE",
        "PREFECT_UI_SERVE_BASE",
    }
    inherited = {name: value for name, value in os.environ.items() if name.upper() not in left_out}
    pin(inherited, prefect_home(root))
    origin = f"http://{LOOPBACK}:{port}"
    return (
        prefect_defaults(root)
        | inherited
        | {
            "HOME": str(user_home(root)),
            "PREFECT_HOME": str(prefect_home(root)),
            # As settings, not as command-line options: the web pages take the URL of the API from these.
            "PREFECT_SERVER_API_HOST": LOOPBACK,
            "PREFECT_SERVER_API_PORT": str(port),
            "PREFECT_SERVER_UI_API_URL": f"{origin}/api",
            # For links in notifications; the server does not derive them from its own address.
            "PREFECT_UI_URL": str(base_url() or origin),
            # Prefect's default lets every page that a browser visits call this API. A page loaded from `localhost`
            # may be another program's, since that name may also resolve to ::1.
            "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": origin,
            # Prefect's default writes into its installed package, and serves no UI where that is read-only.
            "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(prefect_home(root) / "ui"),
        }
    )


def named_api(root: Path) -> Api | None:
    """Returns the API that the user has configured, looked up in the same order as Prefect does; None if there is none.

    Raises:
        ServerError: A file that may name one cannot be read or is not valid TOML, or the chosen profile does not exist.
    """
    environment = {name.upper(): value for name, value in os.environ.items()}
    sources = (
        (environment, "the environment variable PREFECT_API_URL"),
        (_read_dotenv(), str(Path(".env").absolute())),
    )
    for variables, named_in in sources:
        if (url := variables.get("PREFECT_API_URL")) is not None:
            return _api(url, named_in) if url else None  # an empty one means no API, and Prefect looks no further
    for path, table in TOML_FILES:
        if url := _lookup(_read_toml(path), *table, "api", "url"):
            return _api(url, str(path.absolute()))
    path = _profiles_path(root)
    name, profile = _active_profile(path)
    url = _lookup(profile, "PREFECT_API_URL")
    return _api(url, f"the profile {name!r} of {path}") if url else None


def _api(url: object, named_in: str) -> Api:
    return Api(str(url).rstrip("/"), named_in)


def _profiles_path(root: Path) -> Path:
    """Returns the profiles file in use, whether `configure_prefect` has been called or not."""
    if path := os.environ.get("PREFECT_PROFILES_PATH") or _read_dotenv().get("PREFECT_PROFILES_PATH"):
        return Path(path)
    for file, table in TOML_FILES:
        if path := _lookup(_read_toml(file), *table, "profiles_path"):
            return Path(str(path))
    own_home = prefect_home(root)
    home = Path(os.environ.get("PREFECT_HOME") or own_home).expanduser()
    # The `prefect` command writes its profiles into the project's home when run in the project's folder.
    if home != own_home or (own_home / "profiles.toml").is_file():
        return home / "profiles.toml"
    return user_home(root) / ".prefect" / "profiles.toml"


def _active_profile(path: Path) -> tuple[str, Mapping[str, Any]]:
    """Returns the name and the settings of the active profile, from the user's file or Prefect's own."""
    shipped, own = _read_toml(_shipped_profiles_path()), _read_toml(path)
    profiles = {**shipped.get("profiles", {}), **own.get("profiles", {})}
    name = os.environ.get("PREFECT_PROFILE") or own.get("active") or shipped.get("active", "ephemeral")
    if name not in profiles and name != "ephemeral":
        chosen_in = "PREFECT_PROFILE" if os.environ.get("PREFECT_PROFILE") else str(path)
        raise ServerError(
            f"The Prefect profile {name!r}, chosen in {chosen_in}, does not exist in {path}. "
            f"Choose one of {', '.join(sorted(profiles))}, or unset it."
        )
    return name, profiles.get(name, {})


def _shipped_profiles_path() -> Path:
    """Returns the path of the profiles shipped with Prefect, without importing it."""
    spec = find_spec("prefect")
    if spec is None or spec.origin is None:
        raise ServerError("Prefect is not installed in this environment. Install the project's requirements.")
    return Path(spec.origin).parent / "settings" / "profiles.toml"


def _read_dotenv() -> dict[str, str]:
    """Returns Prefect's settings in the file `.env` of the working directory, by uppercase names.

    Raises:
        ServerError: It cannot be read.
    """
    path = Path(".env")
    if not path.is_file():  # a virtual environment may have this name
        return {}
    from dotenv import dotenv_values

    try:
        values = dotenv_values(path, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ServerError(
            f"{path.absolute()} could name a Prefect server but cannot be read: {error}. Fix it."
        ) from error
    named = {name.upper(): value for name, value in values.items() if value is not None}
    return {name: value for name, value in named.items() if name.startswith("PREFECT_")}


def _read_toml(path: Path) -> dict[str, Any]:
    """Returns the content of a file that Prefect reads, too.

    Raises:
        ServerError: It cannot be read, either by Prefect or here.
    """
    try:
        table = read_toml(path)
        if has_mark(path):
            raise ValueError("it starts with a byte-order mark, which Prefect does not accept")
        return table
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise ServerError(
            f"{path.absolute()} could name a Prefect server but cannot be read: {error}. Fix it."
        ) from error


def _lookup(tables: object, *keys: str) -> Any:
    """Returns the value under nested keys; None if one is missing."""
    for key in keys:
        tables = tables.get(key) if isinstance(tables, Mapping) else None
    return tables
