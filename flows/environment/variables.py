"""Which of Prefect's environment variables are used, ignored or rejected; docs/ENVIRONMENT.md lists them all.

Prefect reads its settings from the environment, then from `.env`, from two files in the working directory, and from a
profile. What must hold regardless of all of them is therefore put into the
environment before Prefect is imported.
"""

import os
from collections.abc import MutableMapping
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import quote, urlsplit

from flows.errors import InputError

Environment = MutableMapping[str, str]

#: Names and addresses of this machine.
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")

#: Prefect's settings that are fixed, whatever the user has set.
PINNED = {
    # Stages and flows define themselves where their results are stored, and which are kept.
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "pickle",
    "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
    # Reusing a stage is the point; `--refresh` reruns it.
    "PREFECT_TASKS_DISABLE_CACHING": "false",
    # Retries of a stage are a parameter of the flows; flow runs are never retried as a whole.
    "PREFECT_FLOWS_DEFAULT_RETRIES": "0",
    # Nothing listens without a password, and nothing is installed. Metrics use one port for all processes of a
    # machine: a second concurrent training would fail.
    "PREFECT_CLIENT_METRICS_ENABLED": "false",
    "PREFECT_RUNNER_SERVER_ENABLE": "false",
    "PREFECT_RUNNER_AUTO_INSTALL_DEPENDENCIES": "false",
    # The project's own server is a single process that needs no other program and runs every service.
    "PREFECT_SERVER_API_DEFAULT_LIMIT": "200",
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.memory",
    "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "true",
    "PREFECT_SERVER_DOCKET_URL": "memory://",
    "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "prefect.server.events.ordering.memory",
    "PREFECT_SERVER_EVENTS_MESSAGING_BROKER": "prefect.server.utilities.messaging.memory",
    "PREFECT_SERVER_EVENTS_MESSAGING_CACHE": "prefect.server.utilities.messaging.memory",
    "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_ENABLED": "true",
    "PREFECT_SERVER_SERVICES_CLEANUP_RECONCILER_ENABLED": "true",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED": "true",
    "PREFECT_SERVER_SERVICES_FOREMAN_ENABLED": "true",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_ENABLED": "true",
    "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_ENABLED": "true",
    "PREFECT_SERVER_SERVICES_REPOSSESSOR_ENABLED": "true",
    "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "true",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_ENABLED": "true",
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "true",
    "PREFECT_SERVER_UI_ENABLED": "true",
    "PREFECT_SERVER_WORKER_CHANNEL_CLEANUP_QUEUE_STORAGE": ("prefect.server.worker_communication.cleanup_queue.memory"),
}

#: Prefixes of variables that are removed: the backend of figures; Prefect's test mode, in which it reads no profile;
#: how torch loads checkpoints, which the code specifies; and other databases, since the server's own one is fixed.
DROPPED = (
    "MPLBACKEND",
    "PREFECT_TEST",
    "PREFECT_UNIT_TEST",
    "TORCH_FORCE_",
    *(
        f"PREFECT_{part}_DATABASE_{name}"
        for part in ("SERVER", "API")
        for name in ("DRIVER", "HOST", "PORT", "USER", "NAME", "PASSWORD", "CONNECTION_URL")
    ),
)

#: Prefix of the variables through which Prefect passes a flow run to its process.
RUN_PREFIX = "PREFECT__"

#: Settings whose value is a JSON object; any other JSON object would override a whole section.
OBJECT_SETTINGS = ("PREFECT_CLIENT_CUSTOM_HEADERS", "PREFECT_SERVER_SERVICES_DB_VACUUM_EVENT_RETENTION_OVERRIDES")

#: The timeout of a request. Prefect accepts any number, and with 0 or less reports that no server is there.
REQUEST_TIMEOUT = "PREFECT_API_REQUEST_TIMEOUT"

#: Variables that name certificate files, without which no client can be created.
CERTIFICATES = ("PREFECT_API_SSL_CERT_FILE", "SSL_CERT_FILE")


def database_url(home: Path) -> str:
    """Returns SQLAlchemy's URL of the own server's database: a URI, since `?` and others are special in a path."""
    return f"sqlite+aiosqlite:///file:{quote(str(home / 'prefect.db'))}?uri=true"


def pin(environment: Environment, home: Path) -> None:
    """Sets the variables that must have a fixed value and removes those that must not be set.

    Args:
        environment: Of this process, or of one that will import Prefect.
        home: Of Prefect, inside the project.
    """
    for name in [name for name in environment if name.upper().startswith(DROPPED)]:
        del environment[name]
    pinned = PINNED | {
        "PREFECT_RESULTS_LOCAL_STORAGE_PATH": str(home / "storage"),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": database_url(home),
    }
    for name, value in pinned.items():
        set_variable(environment, name, value)


def set_variable(environment: Environment, name: str, value: str) -> None:
    """Sets a variable for Prefect, which also accepts lowercase names."""
    for spelling in [spelling for spelling in environment if spelling.upper() == name]:
        del environment[spelling]
    environment[name] = value


def drop_run_variables(environment: Environment) -> None:
    """Removes the variables that make this process part of a flow run: it creates flow runs of its own."""
    for name in [name for name in environment if name.startswith(RUN_PREFIX)]:
        del environment[name]


def require_usable(environment: Environment) -> None:
    """Checks that Prefect can use the variables set for it.

    Raises:
        InputError: A variable is not valid UTF-8, sets a whole section, sets an invalid timeout, or names a file or
            folder that cannot be used.
    """
    for name, value in environment.items():
        if not name.upper().startswith("PREFECT_"):
            continue
        require_utf8(f"the environment variable {name}", value, "correct it")
        if value.lstrip().startswith("{") and name.upper() not in OBJECT_SETTINGS:
            raise InputError(
                f"the environment variable {name} sets a whole section of Prefect's settings: set each of them "
                "separately, such as PREFECT_API_URL"
            )
        if name.upper() == REQUEST_TIMEOUT and not is_duration(value):
            raise InputError(f"the environment variable {name} is {value!r}: use a number of seconds above 0")
    if home := environment.get("PREFECT_HOME"):
        require_folder("PREFECT_HOME", Path(home).expanduser())
    for name in CERTIFICATES:
        if (file := environment.get(name)) and not os.access(file, os.R_OK):
            raise InputError(f"the environment variable {name} names {file!r}, which cannot be read: correct it")
    if (file := environment.get("SSLKEYLOGFILE")) and not is_writable(Path(file)):
        raise InputError(f"the environment variable SSLKEYLOGFILE names {file!r}, which cannot be written: correct it")


def is_duration(text: str) -> bool:
    """Whether a text is a number of seconds above 0. NaN is not."""
    try:
        return float(text) > 0
    except ValueError:
        return False


def require_folder(name: str, folder: Path) -> None:
    """Creates a folder if it is missing: Prefect would only warn that it cannot.

    Raises:
        InputError: It cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the environment variable {name} names {str(folder)!r}, which cannot be created: {error.strerror}. "
            "Correct it"
        ) from error


def is_writable(path: Path) -> bool:
    """Whether a file can be written or created."""
    return os.access(path if path.exists() else path.parent, os.W_OK)


def require_utf8(what: str, text: str, advice: str) -> None:
    """Checks that Prefect can handle a text.

    Raises:
        InputError: It cannot.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{what} ({text!r}) is not valid UTF-8, which Prefect requires: {advice}") from error


def reach_loopback_directly(environment: Environment, url: str = "") -> None:
    """Makes every library bypass the proxy for servers on this machine, if a proxy is set.

    `no_proxy` takes precedence over `NO_PROXY`, even when it is empty.

    Args:
        environment: Of this process.
        url: Of a server, which may be on this machine under another name.
    """
    bypassed = environment.get("no_proxy", environment.get("NO_PROXY", ""))
    hosts = [host.strip() for host in bypassed.split(",") if host.strip()]
    if "*" in hosts or not any(environment[name] for name in environment if name.lower().endswith("_proxy")):
        return
    own = [urlsplit(url).hostname or ""] if is_on_loopback(url) else []
    for name in ("no_proxy", "NO_PROXY"):
        environment[name] = ",".join(dict.fromkeys([*hosts, *LOOPBACK_NAMES, *own]))


def is_on_loopback(url: str) -> bool:
    """Whether a URL refers to this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return host in LOOPBACK_NAMES or ip_address(host).is_loopback
    except ValueError:
        return False
