"""How Prefect is set up here: the environment that it is imported in, and the API that the user has named for it.

Nothing in this module imports Prefect: what it sets counts only if it is in place before Prefect's first import.
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
from flows.environment.variables import REQUEST_TIMEOUT, pin, put, reach_loopback_directly, require_usable, require_utf8

LOOPBACK = "127.0.0.1"

#: The files of the working directory in which Prefect looks for settings after `.env`, and where in them.
TOML_FILES: tuple[tuple[Path, tuple[str, ...]], ...] = (
    (Path("prefect.toml"), ()),
    (Path("pyproject.toml"), ("tool", "prefect")),
)


class ServerError(RuntimeError):
    """A Prefect server cannot be found, reached, started or stopped; the message says what to do."""


@dataclass(frozen=True)
class Api:
    """A Prefect API and, if it is not the project's own, where its address was named.

    Attributes:
        url: of the API.
        named_in: where the user has named it; None if it is the project's own.
        password: that the project's own asks for; of others, Prefect's client finds it by itself.
        is_random: whether the project made the password up, so that a link may carry it.
    """

    url: str
    named_in: str | None = None
    password: str | None = field(default=None, repr=False, compare=False)
    is_random: bool = field(default=False, compare=False)

    @property
    def external(self) -> bool:
        """Whether somebody else runs it: such a server is never started or stopped here."""
        return self.named_in is not None

    @property
    def ui_url(self) -> str:
        """Where a person watches its runs, derived from the API's address as Prefect derives it."""
        cloud = self.url.replace("https://api.prefect.cloud/api", "https://app.prefect.cloud")
        if cloud != self.url:
            return cloud.replace("/accounts/", "/account/").replace("/workspaces/", "/workspace/")
        return os.environ.get("PREFECT_UI_URL") or self.own_base or self.url.removesuffix("/api")

    @property
    def own_base(self) -> str:
        """The base URL, at which a reverse proxy has the project's own server; empty where there is none.

        Raises:
            InputError: the environment names one that is none.
        """
        base = None if self.external else base_url()
        return str(base) if base else ""


def prefect_home(root: Path) -> Path:
    """The folder inside the project that holds Prefect's database, its logs and the state of the server.

    Raises:
        InputError: Prefect cannot name it.
    """
    home = root.resolve() / ".prefect"
    require_utf8("the project's folder", str(home.parent), "rename it, or name another in WORKFLOW_HOME")
    return home


def make_home(root: Path) -> Path:
    """Makes that folder if it is not there, and keeps other users out of it: the database holds Prefect's secrets.

    Raises:
        OSError: it cannot be made.
    """
    home = prefect_home(root)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if home.stat().st_mode & 0o077:
        with contextlib.suppress(OSError):  # a file system without permissions
            home.chmod(0o700)
    return home


def user_home(root: Path) -> Path:
    """The home folder of the user; Prefect's, inside the project, for one who has none, as in many containers.

    Raises:
        InputError: Prefect cannot name it.
    """
    with contextlib.suppress(RuntimeError):  # no HOME, and no entry in the list of users
        if os.access(home := Path.home(), os.X_OK):
            return home
    return prefect_home(root)


def prefect_defaults(root: Path) -> dict[str, str]:
    """What this project sets unless the user has set it: no telemetry, a home of its own, no database collisions."""
    return {
        "PREFECT_HOME": str(prefect_home(root)),
        # Turns off both what the server sends and what its web pages send.
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        # Its newer pages ask a server of Amplitude's for settings as soon as they are opened, whatever is set.
        "PREFECT_SERVER_UI_V2_ENABLED": "false",
        # Each stage would be told of twice: of how it ended, the flow run's own log tells, and why.
        "PREFECT_LOGGING_LOGGERS_PREFECT_TASK_RUNS_LEVEL": "WARNING",
        # One transaction for many task runs: with one each, SQLite's writers collide and clients sleep in silence.
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
        # An alert that fell due while the server was off is sent when it is back; after a minute, Prefect would not.
        "PREFECT_SERVER_EVENTS_EXPIRED_BUCKET_BUFFER": "P365D",
        # A server that hangs is waited for twice as long as it waits for its own database, and four times in all; one
        # that is gone for the 14 s between them, in which it may have been started anew.
        REQUEST_TIMEOUT: "20",
        "PREFECT_CLIENT_MAX_RETRIES": "3",
        # Longer than Prefect's clients keep a connection, which else is closed just when it is used again.
        "PREFECT_SERVER_API_KEEPALIVE_TIMEOUT": "60",
    }


def configure_prefect(root: Path, api: Api | None = None) -> None:
    """Set the project's defaults, and the API to use, in the environment. Call it before Prefect is first imported.

    What the user has set stays as it is, but for what `flows.environment.variables` says.

    Raises:
        InputError: Prefect cannot take the project's folder, or what the environment sets for it.
        ServerError: the file `.env` of the working directory cannot be read.
    """
    heed_dotenv()
    require_usable(os.environ)
    # Prefect looks for a home folder when it is imported, whatever is set.
    os.environ["HOME"] = str(user_home(root))
    profiles = _profiles_path(root)
    if profiles.is_file():
        # Named, because a changed PREFECT_HOME would make Prefect look elsewhere and miss the user's keys.
        os.environ.setdefault("PREFECT_PROFILES_PATH", str(profiles.absolute()))
    for name, value in prefect_defaults(root).items():
        os.environ.setdefault(name, value)
    pin(os.environ, prefect_home(root))
    if api:
        use_api(api)
    reach_loopback_directly(os.environ)


def use_api(api: Api) -> None:
    """Set in the environment which API this process and its children use, and the password of the project's own."""
    set_address(api.url)
    reach_loopback_directly(os.environ, api.url)
    if api.own_base:
        os.environ.setdefault("PREFECT_UI_URL", api.own_base)
    if api.password:
        os.environ["PREFECT_API_AUTH_STRING"] = api.password


def set_address(url: str) -> None:
    """Has Prefect use an API, whichever one is named elsewhere; an empty address stands for none."""
    put(os.environ, "PREFECT_API_URL", url)


def heed_dotenv() -> None:
    """Puts what `.env` sets for Prefect into the environment, so that it counts here as it does for Prefect.

    But for the address, whose origin is told, and the profile, which Prefect does not look for there.

    Raises:
        ServerError: the file cannot be read.
    """
    for name, value in _read_dotenv().items():
        if name not in ("PREFECT_API_URL", "PREFECT_PROFILE"):
            os.environ.setdefault(name, value)


def server_environment(root: Path, port: int) -> dict[str, str]:
    """The environment of the project's own server on `port`.

    It keeps what the user has set for a server. What says how to reach another one, or would move this one to where
    its clients do not look, is left out.
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
            # As settings, not as options of the command: the web pages take the API's address from these.
            "PREFECT_SERVER_API_HOST": LOOPBACK,
            "PREFECT_SERVER_API_PORT": str(port),
            "PREFECT_SERVER_UI_API_URL": f"{origin}/api",
            # For the links in what the server sends; it does not derive them from its own address.
            "PREFECT_UI_URL": str(base_url() or origin),
            # Prefect's default lets every page that a browser visits call this API. A page that was loaded from
            # `localhost` may be another program's: that name may lead to ::1 as well.
            "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": origin,
            # Prefect's default writes into its own installed package, and has no UI where it may not.
            "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(prefect_home(root) / "ui"),
        }
    )


def named_api(root: Path) -> Api | None:
    """The API that the user has named, looked up where and in the order that Prefect does; None if there is none.

    Raises:
        ServerError: a file that could name one cannot be read or is not valid TOML, or the chosen profile does not
            exist.
    """
    environment = {name.upper(): value for name, value in os.environ.items()}
    sources = (
        (environment, "the environment variable PREFECT_API_URL"),
        (_read_dotenv(), str(Path(".env").absolute())),
    )
    for variables, named_in in sources:
        if (url := variables.get("PREFECT_API_URL")) is not None:
            return _api(url, named_in) if url else None  # one that is empty names no API, and Prefect looks no further
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
    """The file of profiles that counts, whether `configure_prefect` has run or not."""
    if path := os.environ.get("PREFECT_PROFILES_PATH") or _read_dotenv().get("PREFECT_PROFILES_PATH"):
        return Path(path)
    for file, table in TOML_FILES:
        if path := _lookup(_read_toml(file), *table, "profiles_path"):
            return Path(str(path))
    own_home = prefect_home(root)
    home = Path(os.environ.get("PREFECT_HOME") or own_home).expanduser()
    # The `prefect` command, run in the project's folder, writes its profiles into the project's home.
    if home != own_home or (own_home / "profiles.toml").is_file():
        return home / "profiles.toml"
    return user_home(root) / ".prefect" / "profiles.toml"


def _active_profile(path: Path) -> tuple[str, Mapping[str, Any]]:
    """The name and the settings of the profile in use, from the user's file and from those that come with Prefect."""
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
    """The profiles that come with Prefect, found without importing it."""
    spec = find_spec("prefect")
    if spec is None or spec.origin is None:
        raise ServerError("Prefect is not installed in this environment. Install the project's requirements.")
    return Path(spec.origin).parent / "settings" / "profiles.toml"


def _read_dotenv() -> dict[str, str]:
    """What the file `.env` of the working directory sets for Prefect, by names in capitals.

    Raises:
        ServerError: it cannot be read.
    """
    path = Path(".env")
    if not path.is_file():  # a virtual environment may have the name
        return {}
    from dotenv import dotenv_values

    try:
        values = dotenv_values(path, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ServerError(
            f"{path.absolute()} could name a Prefect server but cannot be read: {error}. Mend it."
        ) from error
    named = {name.upper(): value for name, value in values.items() if value is not None}
    return {name: value for name, value in named.items() if name.startswith("PREFECT_")}


def _read_toml(path: Path) -> dict[str, Any]:
    """The content of a file that Prefect reads too.

    Raises:
        ServerError: it cannot be read, by Prefect or here.
    """
    try:
        table = read_toml(path)
        if has_mark(path):
            raise ValueError("Prefect takes no byte-order mark, with which it begins")
        return table
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise ServerError(
            f"{path.absolute()} could name a Prefect server but cannot be read: {error}. Mend it."
        ) from error


def _lookup(tables: object, *keys: str) -> Any:
    """The value under nested keys, None where one is missing."""
    for key in keys:
        tables = tables.get(key) if isinstance(tables, Mapping) else None
    return tables
