"""Environment variables only affect what they are meant to; see docs/ENVIRONMENT.md."""

import contextlib
import os
import pwd
import re
import string
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path

import pytest

from flows.environment.settings import Api, configure_prefect, prefect_home, server_environment, use_api, user_home
from flows.environment.validation import readable_settings
from flows.environment.variables import database_url, is_on_loopback, reach_loopback_directly
from flows.errors import InputError
from flows.services.prefect_server.reachability import why_unreachable
from tasks.caching.storage.store import Store
from tests.flows.conftest import made
from tests.support.serving_project import Finish

PROJECT = Path(__file__).parents[3]

#: Runs a command as a user who is not in the user database.
NAMELESS = ("unshare", "--user", "--map-user=4242", "env", "--unset=HOME", "--unset=USER", "--unset=LOGNAME")


@pytest.fixture
def unchanged() -> Iterator[None]:
    """Restores the environment of this process after each test."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


# --- A user without a home


def test_the_home_of_a_user_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_home(tmp_path / "project") == tmp_path


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("lack", ["no entry", "no folder", "no access"])
def test_a_user_without_a_home_gets_the_projects(lack: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def know_nobody(number: int) -> None:
        raise KeyError(number)

    monkeypatch.delenv("PREFECT_HOME", raising=False)
    if lack == "no entry":
        monkeypatch.delenv("HOME")
        monkeypatch.setattr(pwd, "getpwuid", know_nobody)
    else:
        monkeypatch.setenv("HOME", str(tmp_path / "none"))
    if lack == "no access":
        monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path / "none")
        (tmp_path / "none").mkdir()
    home = prefect_home(tmp_path)
    assert server_environment(tmp_path, 4200)["HOME"] == str(home)
    configure_prefect(tmp_path)
    assert (os.environ["HOME"], os.environ["PREFECT_HOME"]) == (str(home), str(home))


@pytest.mark.long
def test_a_user_without_a_home_trains_and_verifies(api_url: str, password: str, tmp_path: Path) -> None:
    own = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "WORKFLOW_HOME": str(tmp_path / "home")}
    own |= {"PREFECT_API_URL": api_url, "PREFECT_API_AUTH_STRING": password}
    command = [*NAMELESS, sys.executable, "-m", "flows.cli", "train", "line", "--verify"]
    done = subprocess.run(command, env=own, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "compare   Completed" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


# --- Special characters in the project's path


#: Every printable ASCII character except the path separator, some others, and words that are special in the URL of a
#: database.
SIGNS = [
    *(set(string.printable) - set("/\x0b\x0c\r")),
    "é",
    "文",
    "\u202e",
    "\N{GRINNING FACE}",
    ":memory:",
    "mode=memory",
]


@pytest.mark.parametrize("sign", sorted(SIGNS), ids=ascii)
def test_the_database_is_where_it_should_be_for_any_path(sign: str, tmp_path: Path) -> None:
    import sqlalchemy

    home = tmp_path / f"one{sign}two"
    home.mkdir()
    url = database_url(home).replace("+aiosqlite", "")
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE t (x)"))
    engine.dispose()
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.db")] == [f"one{sign}two/prefect.db"]
    assert not [word for word in (":memory:", "mode=memory") if word in url]


# --- Settings of Prefect's that are ignored

#: Settings whose other values would affect a run, the reuse of a stage, or the project's own server.
IGNORED = {
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "garbage",
    "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "true",
    "PREFECT_RESULTS_LOCAL_STORAGE_PATH": "/nonexistent",
    "PREFECT_LOCAL_STORAGE_PATH": "/nonexistent",
    "PREFECT_TASKS_DISABLE_CACHING": "true",
    "PREFECT_FLOWS_DEFAULT_RETRIES": "3",
    "PREFECT_FLOW_DEFAULT_RETRIES": "3",
    "PREFECT_RUNNER_SERVER_ENABLE": "true",
    "PREFECT_RUNNER_AUTO_INSTALL_DEPENDENCIES": "true",
    "PREFECT_CLIENT_METRICS_ENABLED": "true",
    "PREFECT_CLIENT_ENABLE_METRICS": "true",
    "PREFECT_SERVER_API_DEFAULT_LIMIT": "1",
    "PREFECT_API_DEFAULT_LIMIT": "1",
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect_redis.lease_storage",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL": "postgresql+asyncpg://else/else",
    "PREFECT_API_DATABASE_CONNECTION_URL": "postgresql+asyncpg://else/else",
    "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",
    "PREFECT_SERVER_DOCKET_URL": "redis://else",
    "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "prefect_redis.ordering",
    "PREFECT_SERVER_EVENTS_MESSAGING_BROKER": "prefect_redis.messaging",
    "PREFECT_MESSAGING_BROKER": "prefect_redis.messaging",
    "PREFECT_MESSAGING_CACHE": "prefect_redis.messaging",
    "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_CLEANUP_RECONCILER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_FOREMAN_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_REPOSSESSOR_ENABLED": "false",
    "PREFECT_API_SERVICES_SCHEDULER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
    "PREFECT_UI_ENABLED": "false",
    "PREFECT_SERVER_WORKER_CHANNEL_CLEANUP_QUEUE_STORAGE": "prefect_redis.cleanup_queue",
}

#: Those that are ignored in the environment only.
DROPPED = {
    "PREFECT_TEST_MODE": "1",
    "PREFECT_UNIT_TEST_MODE": "1",
    "PREFECT_TESTING_TEST_MODE": "1",
    "PREFECT_TESTING_UNIT_TEST_MODE": "true",
    "PREFECT_TEST_SETTING": "else",
    "PREFECT_TESTING_UNIT_TEST_LOOP_DEBUG": "false",
    "PREFECT_SERVER_DATABASE_DRIVER": "postgresql+asyncpg",
    "PREFECT_API_DATABASE_HOST": "else",
    "PREFECT_SERVER_DATABASE_PORT": "1",
    "PREFECT_SERVER_DATABASE_USER": "else",
    "PREFECT_SERVER_DATABASE_NAME": "else",
    "PREFECT_API_DATABASE_PASSWORD": "else",
}


def settings_of(root: Path) -> dict[str, object]:
    """Returns the settings that Prefect uses after it was configured for a project."""
    from prefect.settings.models.root import Settings

    configure_prefect(root)
    return Settings().model_dump()


@pytest.fixture
def project(prefect: None, unchanged: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project, and a working directory without any settings."""
    for name in [name for name in os.environ if name.upper().startswith("PREFECT_")]:
        del os.environ[name]
    (tmp_path / "user").mkdir()
    monkeypatch.chdir(tmp_path / "user")
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    return tmp_path / "project"


@pytest.mark.parametrize("name", [*IGNORED, *DROPPED])
def test_the_environment_does_not_change_pinned_settings(
    name: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = settings_of(project)
    monkeypatch.setenv(name, (IGNORED | DROPPED)[name])
    assert settings_of(project) == before


def test_nor_does_it_in_lowercase(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = settings_of(project)
    for name, value in (IGNORED | DROPPED).items():
        monkeypatch.setenv(name.lower(), value)
    assert settings_of(project) == before


def test_nor_does_a_profile(project: Path) -> None:
    profile = Path("profiles.toml").absolute()
    os.environ["PREFECT_PROFILES_PATH"] = str(profile)
    profile.write_text("active = 'a'\n[profiles.a]\n")
    before = settings_of(project)
    write_profile(profile, IGNORED)
    assert settings_of(project) == before


def test_nor_does_a_file_of_the_working_directory(project: Path) -> None:
    before = settings_of(project)
    Path(".env").write_text("".join(f"{name}={value}\n" for name, value in IGNORED.items()))
    Path("prefect.toml").write_text(
        "[tasks]\ndisable_caching = true\n[server.database]\nconnection_url = 'postgresql+asyncpg://else/else'\n"
        "[server.services.triggers]\nenabled = false\n"
    )
    assert settings_of(project) == before


def write_profile(path: Path, settings: Mapping[str, str]) -> None:
    """Writes a file whose active profile has settings for Prefect."""
    lines = [f'{name} = "{value}"\n' for name, value in settings.items()]
    path.write_text("".join(["active = 'a'\n[profiles.a]\n", *lines]))


#: One valid setting of each kind that no stage uses, and a proxy.
WITHOUT_EFFECT = IGNORED | {
    "PREFECT_DEFAULT_RESULT_STORAGE_BLOCK": "s3-bucket/company",
    "PREFECT_TASKS_SCHEDULING_DEFAULT_STORAGE_BLOCK": "s3-bucket/company",
    "PREFECT_TASKS_REFRESH_CACHE": "true",
    "PREFECT_TASKS_DEFAULT_NO_CACHE": "true",
    "PREFECT_TASKS_DEFAULT_PERSIST_RESULT": "true",
    "PREFECT_TASKS_DEFAULT_RETRIES": "3",
    "PREFECT_TASKS_DEFAULT_RETRY_DELAY_SECONDS": "100",
    "PREFECT_TASKS_RUNNER_THREAD_POOL_MAX_WORKERS": "1",
    "PREFECT_TASKS_RUNNER_PROCESS_POOL_MAX_WORKERS": "1",
    "PREFECT_TASKS_SCHEDULING_DELETE_FAILED_SUBMISSIONS": "false",
    "PREFECT_FLOWS_DEFAULT_RETRY_DELAY_SECONDS": "100",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    "PREFECT_RUNNER_SERVER_HOST": "else",
    "PREFECT_CLIENT_METRICS_PORT": "1",
    "PREFECT_RUNNER_SERVER_PORT": "1",
    "PREFECT_RUNNER_SERVER_LOG_LEVEL": "DEBUG",
    "PREFECT_RUNNER_SERVER_MISSED_POLLS_TOLERANCE": "1",
    "PREFECT_TEST_MODE": "1",
    "PREFECT__FLOW_RUN_ID": "5f2b0f4c-0000-4000-8000-000000000000",
    "PREFECT__RUNTIME__FLOW_RUN__NAME": "else",
    "ALL_PROXY": "socks5://127.0.0.1:1",
    "ws_proxy": "http://127.0.0.1:1",
    "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1",
    "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1",
    "TORCH_LOGS": "+dynamo",
    "PYTHONWARNINGS": "error",
    "PYTHONSAFEPATH": "1",
    "MPLBACKEND": "garbage",
    "GIT_DIR": "/nonexistent",
    "TMPDIR": "/nonexistent",
    "TERM": "garbage",
}


@pytest.mark.parametrize("profile", [pytest.param(False, marks=pytest.mark.long), True], ids=["environment", "profile"])
def test_a_run_is_the_same_with_all_of_them(profile: bool, workflow: Finish, first_home: Path, tmp_path: Path) -> None:
    variables = WITHOUT_EFFECT
    if profile:
        path = tmp_path / "profiles.toml"
        write_profile(path, {name: value for name, value in variables.items() if re.match("PREFECT_(?!_)", name)})
        variables = {"PREFECT_PROFILES_PATH": str(path)}
    done = workflow("train", "line", "--verify", home=tmp_path / "home", **variables)
    assert (done.returncode, done.stderr) == (0, "")
    assert made(tmp_path / "home") == made(first_home)
    again = workflow("plan", "line", home=tmp_path / "home", **variables)
    assert "will run" not in again.stdout


def test_a_command_inside_a_run_creates_its_own_run(
    store: Store, command: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "5f2b0f4c-0000-4000-8000-000000000000")
    assert command("train", "line", "--until", "generate")[0] == 0
    assert "PREFECT__FLOW_RUN_ID" not in os.environ


# --- Rejected settings

REFUSED = {
    "PREFECT_API": ('{"url": "http://else/api"}', "sets a whole section of Prefect's settings: set each of them"),
    "prefect_server": (' {"api": {"port": 1}}', "sets a whole section"),
    "PREFECT_RESULTS": ("{}", "sets a whole section"),
    "PREFECT_API_SSL_CERT_FILE": ("/nonexistent", "names '/nonexistent', which cannot be read: correct it"),
    "SSL_CERT_FILE": ("/nonexistent", "names '/nonexistent', which cannot be read: correct it"),
    "PREFECT_HOME": (
        "/proc/none",
        "names '/proc/none', which cannot be created: No such file or directory",
    ),
    "PREFECT_API_REQUEST_TIMEOUT": ("-1", "is '-1': use a number of seconds above 0"),
    "prefect_api_request_timeout": ("nan", "is 'nan': use a number of seconds above 0"),
    "SSLKEYLOGFILE": ("/nonexistent/log", "names '/nonexistent/log', which cannot be written: correct it"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_settings_that_would_break_prefect_are_rejected(
    name: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value, why = REFUSED[name]
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=f"^the environment variable {name} {re.escape(why)}"):
        configure_prefect(project)
    assert not project.exists()


@pytest.mark.parametrize("name", ["PREFECT_CLIENT_CUSTOM_HEADERS", "SSLKEYLOGFILE", "SSL_CERT_FILE"])
def test_usable_settings_are_not(name: str, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(name, '{"X-Team": "a"}' if name.startswith("PREFECT_") else str(tmp_path / "file"))
    configure_prefect(project)


def test_a_setting_that_cannot_be_parsed_is_reported_in_one_message(workflow: Finish, tmp_path: Path) -> None:
    done = workflow("train", "line", home=tmp_path / "home", PREFECT_CLIENT_CUSTOM_HEADERS="garbage")
    assert (done.returncode, done.stdout) == (2, "")
    named = "the environment variable PREFECT_CLIENT_CUSTOM_HEADERS is not valid JSON, correct it\n"
    assert done.stderr.endswith(f"error: Prefect rejects its settings: {named}")
    assert not (tmp_path / "home/artifacts").exists()


UNSENDABLE = {
    '{"X-A": "ü"}': "the header 'X-A' has a value that cannot be sent: use ASCII text",
    '{"X-A": "a\\nb"}': "the header 'X-A' has a value that cannot be sent",
    '{"X-A": "secret\\n"}': "the header 'X-A' has a value that cannot be sent",
    '{"X-A": "a\\u0000"}': "the header 'X-A' has a value that cannot be sent",
    '{"X-B": "b", "ü": "a"}': "the header 'ü' is not a valid name: use ASCII letters, digits and hyphens",
    '{"X\\nA": "a"}': "the header 'X\\nA' is not a valid name",
    '{"X A": "a"}': "the header 'X A' is not a valid name",
    '{"": "a"}': "the header '' is not a valid name",
}


@pytest.fixture
def fresh_settings(project: Path) -> Iterator[Callable[[], None]]:
    """Makes Prefect read its settings again, as its first import does."""
    from prefect.context import SettingsContext, get_settings_context
    from prefect.settings.models.root import Settings

    with contextlib.ExitStack() as stack:

        def read() -> None:
            configure_prefect(project)
            settings = SettingsContext(profile=get_settings_context().profile, settings=Settings())
            stack.enter_context(settings)

        yield read


@pytest.mark.parametrize("headers", UNSENDABLE)
def test_a_header_that_cannot_be_sent_is_rejected(
    headers: str, fresh_settings: Callable[[], None], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_CLIENT_CUSTOM_HEADERS", headers)
    fresh_settings()
    named = f"the environment variable PREFECT_CLIENT_CUSTOM_HEADERS: {UNSENDABLE[headers]}"
    with pytest.raises(InputError, match=f"^{re.escape(named)}") as refusal, readable_settings():
        pass
    assert "secret" not in str(refusal.value)
    assert not project.exists()


@pytest.mark.parametrize("headers", ['{"X-A": "", "Authorization": "Bearer a.b-c=="}', '{"X-A": "a, b\\tc"}', "{}"])
def test_a_header_that_can_be_sent_is_not(
    headers: str, fresh_settings: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_CLIENT_CUSTOM_HEADERS", headers)
    fresh_settings()
    with readable_settings():
        pass


def test_a_header_in_a_file_is_rejected_too(fresh_settings: Callable[[], None]) -> None:
    Path("prefect.toml").write_text('[client]\ncustom_headers = { X-A = "ü" }\n', "utf-8")
    fresh_settings()
    with (
        pytest.raises(InputError, match=r"^`custom_headers` \(in prefect.toml.*: the header 'X-A'"),
        readable_settings(),
    ):
        pass


def test_a_header_is_rejected_before_anything_runs(workflow: Finish, tmp_path: Path) -> None:
    headers = '{"X-A": "ü"}'
    done = workflow("train", "line", home=tmp_path / "home", PREFECT_CLIENT_CUSTOM_HEADERS=headers)
    assert (done.returncode, done.stdout) == (2, "")
    named = "error: the environment variable PREFECT_CLIENT_CUSTOM_HEADERS: the header 'X-A' has a value"
    assert done.stderr.startswith(named)
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "home/artifacts").exists()


# --- Proxies

PROXIES = [
    {"ALL_PROXY": "socks5://127.0.0.1:1"},
    {"all_proxy": "socks5h://127.0.0.1:1", "NO_PROXY": "a.example"},
    {"ALL_PROXY": "http://127.0.0.1:1", "no_proxy": "a.example, b.example"},
    {"HTTP_PROXY": "http://127.0.0.1:1", "no_proxy": ""},
    {"http_proxy": "garbage://:x", "NO_PROXY": "localhost"},
    {"HTTPS_PROXY": "http://127.0.0.1:1", "HTTP_PROXY": "socks4://127.0.0.1:1", "NO_PROXY": "127.0.0.1"},
    {"http_proxy": "http://127.0.0.1:1", "no_proxy": "", "NO_PROXY": "127.0.0.1"},
    {"ws_proxy": "http://127.0.0.1:1", "socks_proxy": "socks5://127.0.0.1:1"},
    {"HTTP_PROXY": "http://127.0.0.1:1", "NO_PROXY": "*"},
]


@pytest.mark.parametrize("proxies", PROXIES, ids=lambda proxies: " ".join(f"{n}={v}" for n, v in proxies.items()))
def test_a_server_on_this_machine_is_reached_without_a_proxy(
    proxies: dict[str, str], prefect: None, unchanged: None, api_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.client.orchestration import get_client
    from websockets.proxy import get_proxy
    from websockets.uri import parse_uri

    import flows.client.connections  # noqa: F401

    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    for name, value in proxies.items():
        monkeypatch.setenv(name, value)
    assert why_unreachable(api_url) is None, "before anything is arranged, as for `workflow server status`"
    with get_client(sync_client=True) as client:
        assert client.api_healthcheck() is None
    reach_loopback_directly(os.environ)
    assert get_proxy(parse_uri(api_url.replace("http", "ws"))) is None
    for name, value in proxies.items():
        if name.lower() != "no_proxy":
            assert os.environ[name] == value, "for what is not on this machine"


def test_so_is_one_under_another_of_its_addresses(unchanged: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from urllib.request import proxy_bypass

    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    for url, direct in (("http://127.1.2.3:4200/api", True), ("http://10.1.2.3:4200/api", False)):
        use_api(Api(url))
        assert bool(proxy_bypass(url.split("/")[2])) == direct


def test_a_server_elsewhere_is_reached_through_it(prefect: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.client.base import PrefectHttpxSyncClient

    import flows.client.connections  # noqa: F401

    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example")
    for url, proxied in (("http://server.example/api", True), ("http://127.0.0.1/api", False)):
        with PrefectHttpxSyncClient(base_url=url, enable_csrf_support=False) as client:
            assert any(pattern.pattern == "http://" for pattern in client._mounts) == proxied


@pytest.mark.parametrize(
    ("url", "is_there"),
    [
        ("http://127.0.0.1:4200/api", True),
        ("https://LOCALHOST/api", True),
        ("http://[::1]:4200/api", True),
        ("http://127.1.2.3/api", True),
        ("http://127.0.0.1.example/api", False),
        ("http://10.0.0.1/api", False),
        ("", False),
    ],
)
def test_urls_of_this_machine(url: str, is_there: bool) -> None:
    assert is_on_loopback(url) == is_there


# --- The documentation

ROW = re.compile(r"^\| (`PREFECT_.*) \| .* \| (used|ignored|rejected|set by)[^|]* \|$", re.MULTILINE)


def test_the_page_lists_every_setting_of_prefect_and_ignored_ones_are_tested(prefect: None) -> None:
    from prefect.settings.models.root import Settings, _get_settings_accessors

    page = (PROJECT / "docs/ENVIRONMENT.md").read_text("utf-8")
    rows = [(re.findall(r"`(PREFECT_[A-Z_*]+)`", names), word) for names, word in ROW.findall(page)]
    accessors = {name: accessor for name, accessor in _get_settings_accessors(Settings).items() if name.isupper()}
    found: dict[str, str] = {}
    for name, accessor in accessors.items():
        word = next(word for patterns, word in rows if any(fnmatch(name, pattern) for pattern in patterns))
        assert found.setdefault(accessor, word) == word, f"{accessor} has several names, and {name} another row"
    tested = {accessors[name] for name in (*IGNORED, *DROPPED, *WITHOUT_EFFECT) if name in accessors}
    assert {accessor for accessor, word in found.items() if word == "ignored"} == tested
