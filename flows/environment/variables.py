"""What the environment may say to Prefect, and what it may not; docs/ENVIRONMENT.md has a table of it all.

Prefect takes its settings from the environment, then from `.env`, from two files of the working directory, and from a
profile. So what must hold whatever stands in any of them is put into the environment, before Prefect is imported.
"""

import os
from collections.abc import MutableMapping
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import quote, urlsplit

from flows.errors import InputError

Environment = MutableMapping[str, str]

#: By which names and addresses this machine reaches itself.
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")

#: Which of Prefect's settings hold whatever a user has set.
PINNED = {
    # Stages and flows say themselves where their results lie, and which are kept.
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "pickle",
    "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
    # That a stage is reused is the promise; `--refresh` has it run again.
    "PREFECT_TASKS_DISABLE_CACHING": "false",
    # How often a stage is tried again is a parameter of the flows, whose runs are never repeated as a whole.
    "PREFECT_FLOWS_DEFAULT_RETRIES": "0",
    # Nothing listens that asks for no password, and nothing is installed. Metrics have one port for all processes of a
    # machine: the second training at once would end for it.
    "PREFECT_CLIENT_METRICS_ENABLED": "false",
    "PREFECT_RUNNER_SERVER_ENABLE": "false",
    "PREFECT_RUNNER_AUTO_INSTALL_DEPENDENCIES": "false",
    # The project's own server is one process, which needs no other program and does all that a server does.
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

#: How variables begin that are dropped: of the windows of figures; of Prefect's tests, in which it reads no profile; of
#: how torch reads checkpoints, which the code says itself; and of another database, as that of the own one is known.
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

#: How variables begin in which Prefect tells a process of a run about that run.
OF_A_RUN = "PREFECT__"

#: Settings whose value is a JSON object; one of any other would set a whole section, whatever else sets its parts.
OBJECTS = ("PREFECT_CLIENT_CUSTOM_HEADERS", "PREFECT_SERVER_SERVICES_DB_VACUUM_EVENT_RETENTION_OVERRIDES")

#: Seconds that a server has for an answer. Prefect takes any number, and of 0 or less it says that no server is there.
REQUEST_TIMEOUT = "PREFECT_API_REQUEST_TIMEOUT"

#: Variables that name files of certificates, without which no client of a server can be made.
CERTIFICATES = ("PREFECT_API_SSL_CERT_FILE", "SSL_CERT_FILE")


def database_url(home: Path) -> str:
    """How SQLAlchemy finds the own server's database: as a URI, since `?` and others mean something in a plain path."""
    return f"sqlite+aiosqlite:///file:{quote(str(home / 'prefect.db'))}?uri=true"


def pin(environment: Environment, home: Path) -> None:
    """Puts into an environment what must hold in it, and takes out what must not.

    Args:
        environment: of this process, or of one that will import Prefect.
        home: of Prefect, inside the project.
    """
    for name in [name for name in environment if name.upper().startswith(DROPPED)]:
        del environment[name]
    pinned = PINNED | {
        "PREFECT_RESULTS_LOCAL_STORAGE_PATH": str(home / "storage"),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": database_url(home),
    }
    for name, value in pinned.items():
        put(environment, name, value)


def put(environment: Environment, name: str, value: str) -> None:
    """Sets a variable for Prefect, which takes one in small letters too."""
    for spelling in [spelling for spelling in environment if spelling.upper() == name]:
        del environment[spelling]
    environment[name] = value


def forget_run(environment: Environment) -> None:
    """Takes out what Prefect has told this process of a run of which it may be a part: it begins runs of its own."""
    for name in [name for name in environment if name.startswith(OF_A_RUN)]:
        del environment[name]


def require_usable(environment: Environment) -> None:
    """Shows that Prefect can take what is set for it.

    Raises:
        InputError: a variable is not in UTF-8, sets a whole section, waits for no answer, or names a file or folder
            that cannot be used.
    """
    for name, value in environment.items():
        if not name.upper().startswith("PREFECT_"):
            continue
        require_utf8(f"the environment variable {name}", value, "correct it")
        if value.lstrip().startswith("{") and name.upper() not in OBJECTS:
            raise InputError(
                f"the environment variable {name} sets a whole section of Prefect's settings: name each of them by "
                "itself, such as PREFECT_API_URL"
            )
        if name.upper() == REQUEST_TIMEOUT and not is_duration(value):
            raise InputError(f"the environment variable {name} is {value!r}: give seconds above 0")
    if home := environment.get("PREFECT_HOME"):
        require_folder("PREFECT_HOME", Path(home).expanduser())
    for name in CERTIFICATES:
        if (file := environment.get(name)) and not os.access(file, os.R_OK):
            raise InputError(f"the environment variable {name} names {file!r}, which cannot be read: correct it")
    if (file := environment.get("SSLKEYLOGFILE")) and not may_write(Path(file)):
        raise InputError(f"the environment variable SSLKEYLOGFILE names {file!r}, which cannot be written: correct it")


def is_duration(text: str) -> bool:
    """Whether a text is a number of seconds above 0. NaN is none."""
    try:
        return float(text) > 0
    except ValueError:
        return False


def require_folder(name: str, folder: Path) -> None:
    """Makes a folder that is not there: Prefect would only warn that it cannot.

    Raises:
        InputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the environment variable {name} names {str(folder)!r}, which cannot be made: {error.strerror}. Correct it"
        ) from error


def may_write(path: Path) -> bool:
    """Whether a file can be written, or made."""
    return os.access(path if path.exists() else path.parent, os.W_OK)


def require_utf8(what: str, text: str, advice: str) -> None:
    """Shows that Prefect can take a text.

    Raises:
        InputError: it cannot.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{what} ({text!r}) is not in UTF-8, and Prefect takes nothing else: {advice}") from error


def reach_loopback_directly(environment: Environment, url: str = "") -> None:
    """Keeps every library from asking a proxy for a server on this machine, if a proxy is named.

    `no_proxy` counts before `NO_PROXY`, even when it is empty.

    Args:
        environment: of this process.
        url: of a server, which may be on this machine under another name.
    """
    spoken = environment.get("no_proxy", environment.get("NO_PROXY", ""))
    hosts = [host.strip() for host in spoken.split(",") if host.strip()]
    if "*" in hosts or not any(environment[name] for name in environment if name.lower().endswith("_proxy")):
        return
    own = [urlsplit(url).hostname or ""] if is_on_loopback(url) else []
    for name in ("no_proxy", "NO_PROXY"):
        environment[name] = ",".join(dict.fromkeys([*hosts, *LOOPBACK_NAMES, *own]))


def is_on_loopback(url: str) -> bool:
    """Whether an address leads to this machine itself."""
    host = urlsplit(url).hostname or ""
    try:
        return host in LOOPBACK_NAMES or ip_address(host).is_loopback
    except ValueError:
        return False
