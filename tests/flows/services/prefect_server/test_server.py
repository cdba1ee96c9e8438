import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.environment import settings
from flows.services.prefect_server import database, password, reachability, server, server_process
from flows.services.prefect_server.server import Api, Server, ServerError
from flows.services.prefect_server.temporary import prepare_database

PROJECT = Path(__file__).parents[4]

PROOF = (
    'server_proof(ensure_secret(home), home, own_password(home), self.server.server_port, self.path.rpartition("/")[2])'
)

# Stands in for Prefect if only its process matters: it starts within a tenth of a second.
FAKE_SERVER = f"""
import http.server, os, sys
from pathlib import Path
from flows.services.prefect_server.password import ensure_secret, own_password, server_proof
print("fake server", flush=True)
home = Path(os.environ["PREFECT_HOME"])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = {PROOF}.encode()
        self.send_response(200); self.end_headers(); self.wfile.write(body)
    def log_message(self, *args): pass
address = os.environ["PREFECT_SERVER_API_HOST"], int(os.environ["PREFECT_SERVER_API_PORT"])
http.server.ThreadingHTTPServer(address, Handler).serve_forever()
"""

# Of an earlier version of this project, which revealed its home to every client.
OLDER_SERVER = FAKE_SERVER.replace(PROOF, """f'{{"home": "{home}"}}'""")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Removes the settings of this machine's user, and restores the environment after each test."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(("PREFECT_", "WORKFLOW_", "DO_NOT_TRACK")) or name.lower().endswith("_proxy"):
            del os.environ[name]
    user = tmp_path / "user"
    (user / ".prefect").mkdir(parents=True)
    os.environ |= {"HOME": str(user), "WORKFLOW_SERVER_PORT": str(unused_port())}
    monkeypatch.chdir(user)
    yield
    os.environ.clear()
    os.environ |= before


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    # With spaces and a symbolic link in the path, as people have them.
    (tmp_path / "a project").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a project")
    root = tmp_path / "link"
    yield root
    server.stop(root)


@pytest.fixture
def home(root: Path) -> Path:
    home = settings.prefect_home(root)
    home.mkdir()
    return home


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_process, "COMMAND", (sys.executable, "-c", FAKE_SERVER))


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A running process that serves nothing."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True) as process:
        yield process
        process.kill()


def unused_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def write_profiles(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def named(root: Path) -> Api:
    api = settings.named_api(root)
    assert api is not None
    return api


def listening_addresses(pid: int) -> set[str]:
    """Returns what a process listens on, according to the kernel."""
    sockets = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A" and f"socket:[{inode}]" in sockets:
                found.add(local)
    return found


def printed_by_ps() -> str:
    """Returns the arguments and environment of this machine's processes, as every user can see them."""
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    return b"\n".join(lines).decode(errors="replace")


def wait_until_gone(running: Server) -> None:
    deadline = time.monotonic() + 10
    while server_process.is_alive(running):
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Answering:
    """A web server in this process that responds to every request in the same way."""

    def __init__(self, body: bytes, code: int = 200, content_type: str = "application/json") -> None:
        asked: list[Message] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.headers)
                self.send_response(code)
                self.send_header("Content-Type", content_type)
                self.end_headers()
                self.wfile.write(body)

            def log_request(self, *args: object) -> None:
                pass

        self.asked = asked
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.http.server_address[1]
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> "Answering":
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


class Recording(Answering):
    """A web server that also records its requests."""

    def __init__(self) -> None:
        super().__init__(b"0" * 64)
        self.requests: list[str] = []
        handler: Any = self.http.RequestHandlerClass
        answer = handler.do_GET

        def record_and_answer(request: BaseHTTPRequestHandler) -> None:
            self.requests.append(f"{request.requestline}\n{request.headers}")
            answer(request)

        handler.do_GET = record_and_answer


# --- The environment that Prefect is imported in


def test_defaults_are_absolute_and_send_nothing(root: Path) -> None:
    settings.configure_prefect(root)

    assert os.environ["PREFECT_HOME"] == str(root.resolve() / ".prefect")
    assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert os.environ["DO_NOT_TRACK"] == "1"
    assert "PREFECT_API_URL" not in os.environ


def test_the_users_settings_override_defaults(root: Path) -> None:
    os.environ["PREFECT_HOME"] = "/mine"
    settings.configure_prefect(root)

    assert os.environ["PREFECT_HOME"] == "/mine"


def test_prefect_knows_every_setting(root: Path) -> None:
    """Prefect would silently ignore a misspelled or renamed setting."""
    made = settings.server_environment(root, 4200).keys() - os.environ.keys()
    # In another process, because Prefect reads its settings once, when it is first imported.
    code = (
        "from prefect.settings.models.root import Settings, _get_settings_accessors\n"
        "print(*_get_settings_accessors(Settings))"
    )
    known = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert made - set(known) == {"DO_NOT_TRACK", "PREFECT_LOGGING_LOGGERS_PREFECT_TASK_RUNS_LEVEL"}


def test_own_server_takes_no_setting_of_another(root: Path) -> None:
    os.environ |= {
        "PREFECT_API_URL": "http://else/api",
        "PREFECT_PROFILE": "else",
        "PREFECT_HOME": "/else",
        "PREFECT_SERVER_API_HOST": "0.0.0.0",  # noqa: S104 - what must not get through
        "PREFECT_SERVER_API_BASE_PATH": "/else",
        "PREFECT_SERVER_DATABASE_TIMEOUT": "20",
    }
    environment = settings.server_environment(root, 4200)

    assert environment["PREFECT_HOME"] == str(root.resolve() / ".prefect")
    assert environment["PREFECT_SERVER_API_HOST"] == "127.0.0.1"
    assert not {"PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_SERVER_API_BASE_PATH"} & set(environment)
    assert environment["PREFECT_SERVER_DATABASE_TIMEOUT"] == "20"


def test_users_profiles_stay_in_use(root: Path) -> None:
    profiles = write_profiles(Path.home() / ".prefect" / "profiles.toml", "")
    settings.configure_prefect(root)

    assert os.environ["PREFECT_PROFILES_PATH"] == str(profiles)


def test_nothing_imports_prefect() -> None:
    code = (
        "import sys, pathlib; from flows.services.prefect_server.server import status\n"
        "status(pathlib.Path('nowhere')); print('prefect' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)

    assert printed.stdout.strip() == "False"


# --- The API that the user has named


def test_no_api_is_configured(root: Path) -> None:
    write_profiles(Path.home() / ".prefect" / "profiles.toml", 'active = "ephemeral"\n[profiles.ephemeral]\n')

    assert settings.named_api(root) is None


def test_environment_comes_before_the_profile(root: Path) -> None:
    write_profiles(
        Path.home() / ".prefect" / "profiles.toml", 'active = "a"\n[profiles.a]\nPREFECT_API_URL = "http://a/api"\n'
    )
    assert named(root).url == "http://a/api"

    os.environ["PREFECT_API_URL"] = "http://b/api/"
    assert named(root) == Api("http://b/api", "the environment variable PREFECT_API_URL")


@pytest.mark.parametrize("configured", [False, True])
def test_active_profile_and_the_chosen_one(root: Path, configured: bool) -> None:
    path = write_profiles(
        Path.home() / ".prefect" / "profiles.toml",
        'active = "a"\n[profiles.a]\nPREFECT_API_URL = "http://a/api"\n[profiles.b]\nPREFECT_API_URL = "http://b/api"\n',
    )
    if configured:
        settings.configure_prefect(root)
    assert named(root) == Api("http://a/api", f"the profile 'a' of {path}")

    os.environ["PREFECT_PROFILE"] = "b"
    assert named(root).url == "http://b/api"


@pytest.mark.parametrize("variable", ["PREFECT_PROFILES_PATH", "PREFECT_HOME"])
def test_the_users_profiles_path_is_used(root: Path, tmp_path: Path, variable: str) -> None:
    write_profiles(Path.home() / ".prefect" / "profiles.toml", 'active = "gone"')
    path = write_profiles(tmp_path / "else" / "profiles.toml", '[profiles.ephemeral]\nPREFECT_API_URL = "http://c/api"')
    os.environ[variable] = str(path if variable == "PREFECT_PROFILES_PATH" else path.parent)

    assert named(root).url == "http://c/api"


def test_projects_own_profiles_come_first(root: Path, home: Path) -> None:
    write_profiles(Path.home() / ".prefect" / "profiles.toml", 'active = "gone"')
    write_profiles(home / "profiles.toml", '[profiles.ephemeral]\nPREFECT_API_URL = "http://d/api"')

    assert named(root).url == "http://d/api"


def test_profile_that_comes_with_prefect(root: Path) -> None:
    os.environ["PREFECT_PROFILE"] = "local"

    assert named(root).url == "http://127.0.0.1:4200/api"


@pytest.mark.parametrize(
    ("name", "text"),
    [("prefect.toml", '[api]\nurl = "http://e/api"'), ("pyproject.toml", '[tool.prefect.api]\nurl = "http://e/api"')],
)
def test_files_of_the_working_directory_name_an_api(root: Path, name: str, text: str) -> None:
    path = Path.cwd() / name
    path.write_text(text)

    assert named(root) == Api("http://e/api", str(path))


#: Prints which API Prefect would use in each of several folders, each with an environment.
ASK_PREFECT = """
import json, os, sys
from prefect.settings import sources
from prefect.settings.models.root import Settings
before = dict(os.environ)
for environment, folder in json.load(sys.stdin):
    os.environ.clear()
    os.environ.update(before | environment)
    os.chdir(folder)
    sources._file_cache.clear()
    print(Settings().api.url or "")
"""

#: Places in the working directory that may set the URL of an API, in order of precedence.
FILES = {
    ".env": "PREFECT_API_URL={}",
    "prefect.toml": 'api.url = "{}"',
    "pyproject.toml": 'tool.prefect.api.url = "{}"',
}


#: The URL of a server of `--ephemeral`.
TEMPORARY = "http://127.0.0.1:1/api"


class Folders:
    """Working directories in which this project and Prefect each determine the API to use."""

    def __init__(self, root: Path, parent: Path) -> None:
        self.root, self.parent = root, parent
        self.cases: list[tuple[dict[str, str], str]] = []
        self.found: list[str] = []

    def add(self, environment: dict[str, str], files: dict[str, str], *, ephemeral: bool = False) -> None:
        folder = self.parent / f"folder {len(self.cases)}"
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
        with pytest.MonkeyPatch.context() as patch:
            before = dict(os.environ)
            patch.chdir(folder)
            os.environ |= environment
            if ephemeral:
                settings.use_api(settings.Api(TEMPORARY))
                environment = {name: value for name, value in os.environ.items() if before.get(name) != value}
            api = settings.named_api(self.root)
            os.environ.clear()
            os.environ |= before
        assert api is None or api.url
        self.cases.append((environment, str(folder)))
        self.found.append(api.url if api else "")

    def ask_prefect(self) -> list[str]:
        command = [sys.executable, "-c", ASK_PREFECT]
        asked = subprocess.run(command, input=json.dumps(self.cases), capture_output=True, text=True, check=True)
        return asked.stdout.splitlines()


@pytest.fixture
def folders(root: Path, tmp_path: Path) -> Folders:
    write_profiles(
        Path.home() / ".prefect" / "profiles.toml",
        'active = "a"\n[profiles.a]\nPREFECT_API_URL = "http://profile/api"\n'
        '[profiles.b]\nPREFECT_API_URL = "http://b/api"',
    )
    return Folders(root, tmp_path)


def test_the_first_place_that_sets_an_api_is_used_as_in_prefect(folders: Folders) -> None:
    files = {name: text.format(f"http://{name}/api") for name, text in FILES.items()}
    folders.add({"PREFECT_API_URL": "http://environment/api"}, files)
    folders.add({"prefect_api_url": "http://small/api"}, files)
    folders.add({"PREFECT_API_URL": ""}, files)
    for number in range(len(files) + 1):
        folders.add({}, dict(list(files.items())[number:]))
    folders.add({"PREFECT_PROFILE": "b"}, {})

    places = ["environment", "small", "", ".env", "prefect.toml", "pyproject.toml", "profile", "b"]
    assert folders.found == [place and f"http://{place}/api" for place in places]
    assert folders.ask_prefect() == folders.found


def test_files_in_the_working_directory_mean_the_same_as_in_prefect(folders: Folders) -> None:
    other = {"other.toml": 'active = "a"\n[profiles.a]\nPREFECT_API_URL = "http://other/api"'}
    lines = {
        'export PREFECT_API_URL="http://e/api"  # ours': "http://e/api",
        "prefect_api_url = http://e/api": "http://e/api",
        "HOST=e\nPREFECT_API_URL=http://${HOST}/api": "http://e/api",
        "PREFECT_API_URL=": "",
        "PREFECT_API_URL": "http://profile/api",
        "PREFECT_PROFILES_PATH=other.toml": "http://other/api",
        "PREFECT_PROFILE=b": "http://profile/api",
        "# PREFECT_API_URL=http://e/api": "http://profile/api",
    }
    for line in lines:
        folders.add({}, other | {".env": line})
    for name, line in (("prefect.toml", "{}"), ("pyproject.toml", "tool.prefect.{}")):
        folders.add({}, other | {name: line.format('profiles_path = "other.toml"')})

    assert folders.found == [*lines.values(), "http://other/api", "http://other/api"]
    assert folders.ask_prefect() == folders.found


def test_ephemeral_uses_no_configured_api(folders: Folders) -> None:
    folders.add({"PREFECT_API_URL": "http://e/api"}, {}, ephemeral=True)
    folders.add({"prefect_api_url": "http://e/api"}, {}, ephemeral=True)
    folders.add({"PREFECT_API_URL": "http://e/api", "prefect_api_url": "http://e/api"}, {}, ephemeral=True)
    for name, text in FILES.items():
        folders.add({}, {name: text.format("http://e/api")}, ephemeral=True)
    folders.add({}, {}, ephemeral=True)

    assert folders.found == folders.ask_prefect() == [TEMPORARY] * 7


def test_a_dotenv_that_sets_an_api_is_reported(root: Path) -> None:
    Path(".env").write_text("PREFECT_API_URL=http://e/api/")
    settings.configure_prefect(root)

    assert named(root) == Api("http://e/api", str(Path.cwd() / ".env"))


def test_other_settings_in_dotenv_are_used_and_the_environment_takes_precedence(root: Path) -> None:
    Path(".env").write_text(
        "PREFECT_API_AUTH_STRING=a:b\nPREFECT_CLIENT_MAX_RETRIES=7\nPREFECT_API_REQUEST_TIMEOUT=8\nOTHER=9"
    )
    os.environ["PREFECT_API_REQUEST_TIMEOUT"] = "3"
    settings.configure_prefect(root)

    assert os.environ["PREFECT_API_AUTH_STRING"] == "a:b"
    assert os.environ["PREFECT_CLIENT_MAX_RETRIES"] == "7"
    assert os.environ["PREFECT_API_REQUEST_TIMEOUT"] == "3"
    assert "OTHER" not in os.environ


def test_a_binary_dotenv_is_an_error_and_a_folder_is_not(root: Path) -> None:
    Path(".env").mkdir()
    assert settings.named_api(root) is None
    Path(".env").rmdir()
    Path(".env").write_bytes(b"\xff")

    with pytest.raises(ServerError, match=r"\.env could name a Prefect server but cannot be read: 'utf-8' codec"):
        settings.named_api(root)


def test_missing_profile_is_an_error(root: Path) -> None:
    os.environ["PREFECT_PROFILE"] = "prodd"

    with pytest.raises(ServerError, match=r"'prodd', chosen in PREFECT_PROFILE, does not exist .*\n?.*Choose one of"):
        settings.named_api(root)


def test_broken_profiles_are_an_error(root: Path) -> None:
    path = write_profiles(Path.home() / ".prefect" / "profiles.toml", "active = ")

    with pytest.raises(ServerError, match=rf"{path} could name a Prefect server but cannot be read: Invalid value"):
        settings.named_api(root)


@pytest.mark.parametrize(
    ("url", "ui_url"),
    [
        ("http://127.0.0.1:4200/api", "http://127.0.0.1:4200"),
        ("https://api.prefect.cloud/api/accounts/1/workspaces/2", "https://app.prefect.cloud/account/1/workspace/2"),
    ],
)
def test_ui_address(url: str, ui_url: str) -> None:
    assert Api(url).ui_url == ui_url


# --- A configured server


def test_named_server_is_used_and_never_started(root: Path) -> None:
    with Answering(b"true") as other:
        os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{other.port}/api"
        api = server.find_api(root)
        status = server.status(root)

    assert api.external
    assert (status.state, status.pid, status.api) == ("running", None, api)
    assert not settings.prefect_home(root).exists()


def test_a_configured_server_that_does_not_respond(root: Path) -> None:
    os.environ["PREFECT_API_URL"] = url = f"http://127.0.0.1:{unused_port()}/api"

    with pytest.raises(ServerError, match=rf"{url} does not answer \(.*refused.*\).*variable PREFECT_API_URL. Start"):
        server.find_api(root)
    assert server.status(root).state == "not answering"


@pytest.mark.parametrize(
    ("code", "content_type", "body", "reason"),
    [
        (200, "text/html", b"", "usually ends with /api"),
        (200, "text/plain", b"It works!", "another program answers there"),
        (200, "application/json", b"", "another program answers there"),
        (200, "application/json", b"\xff" * 100, "another program answers there"),
        (200, "application/json", b"[" * 2000, "another program answers there"),
        (502, "text/plain", b"", "HTTP 502"),
        (401, "application/json", b"", None),
    ],
)
def test_responses_of_a_configured_server(
    root: Path, code: int, content_type: str, body: bytes, reason: str | None
) -> None:
    with Answering(body, code, content_type) as other:
        os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{other.port}"
        if reason is None:
            assert server.find_api(root).external
        else:
            with pytest.raises(ServerError, match=reason):
                server.find_api(root)


@pytest.fixture
def dripping() -> Iterator[int]:
    """The port of a program whose responses never end: it sends a byte now and then."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            connection, _ = listener.accept()
            with contextlib.suppress(OSError), connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 60\r\n\r\n")
                while True:
                    connection.sendall(b" ")
                    time.sleep(0.2)

        threading.Thread(target=drip, daemon=True).start()
        yield listener.getsockname()[1]


def test_a_response_without_an_end_is_no_response(
    root: Path, home: Path, dripping: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_process, "RESPONSE_SECONDS", 0.5)
    started = time.monotonic()
    assert server_process.challenge(Server(os.getpid(), dripping, "mine", 0.0), home) == "no response"
    assert time.monotonic() - started < 5


def test_a_configured_server_whose_response_has_no_end(
    root: Path, dripping: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reachability, "RESPONSE_SECONDS", 0.5)
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{dripping}/api"
    with pytest.raises(ServerError, match=r"does not answer \(no complete response within 1 s\)"):
        server.find_api(root)


def test_address_without_scheme(root: Path) -> None:
    os.environ["PREFECT_API_URL"] = "localhost:4200/api"

    with pytest.raises(ServerError, match="must start with http://"):
        server.find_api(root)


# --- Which process is the server


def test_recycled_pid_is_not_the_server(root: Path, home: Path) -> None:
    mine = server_process.process_identity(os.getpid())
    server_process.write_state(Server(os.getpid(), 4200, "another start time", 0.0), home)
    assert mine is not None
    assert server.status(root).state == "stopped"
    # It is never killed, and the file is removed.
    assert not server.stop(root)
    assert not server_process.state_path(home).exists()

    # With the right start time, the same process is recognized.
    server_process.write_state(Server(os.getpid(), unused_port(), mine, 0.0), home)
    assert server.status(root).state == "not answering"
    server_process.remove_state(home)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"pid": null}', "\x00\xff", '{"pid": Infinity, "port": 1}'])
def test_garbage_in_the_state_file(root: Path, home: Path, fake: None, text: str) -> None:
    server_process.state_path(home).write_text(text, encoding="latin-1")
    assert server.status(root).state == "stopped"

    assert server_process.is_alive(server.start(root))


def test_a_zombie_process_is_not_running() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

    assert Path(f"/proc/{process.pid}/stat").exists()
    assert server_process.process_identity(process.pid) is None
    process.wait()


def test_a_process_is_running_until_its_last_thread_ends() -> None:
    code = "import ctypes, threading, time; threading.Thread(target=time.sleep, args=(60,)).start()"
    process = subprocess.Popen([sys.executable, "-c", f"{code}; ctypes.CDLL(None).pthread_exit(None)"])
    while ") Z " not in Path(f"/proc/{process.pid}/stat").read_text():
        time.sleep(0.01)

    assert server_process.process_identity(process.pid) is not None
    process.kill()
    process.wait()


# --- Start and stop


def test_start_find_stop(root: Path, fake: None) -> None:
    reported: list[str] = []
    running = server.start(root, reported.append)

    assert server.start(root, reported.append) == running
    assert server.find_api(root) == running.api == Api(f"http://127.0.0.1:{os.environ['WORKFLOW_SERVER_PORT']}/api")
    assert [text.split()[0] for text in reported] == ["Starting", "The"]
    assert server.status(root).pid == running.pid
    assert running.ui_url in server.status(root).describe()

    assert server.stop(root)
    assert not server_process.is_alive(running)
    assert not server.stop(root)
    assert server.status(root).describe().startswith("No Prefect server")


def test_taken_port_gives_the_next(root: Path, fake: None) -> None:
    with Answering(b'{"home": "/of/another/project"}') as other:
        os.environ["WORKFLOW_SERVER_PORT"] = str(other.port)
        running = server.start(root)

    assert running.port > other.port


def test_port_lost_while_loading_gives_the_next(root: Path, fake: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server of another project may take the port between our check and our server's start."""
    with Answering(b'{"home": "/of/another/project"}') as other:
        os.environ["WORKFLOW_SERVER_PORT"] = str(other.port)
        free, looks = server.is_free, []

        def is_free(port: int) -> bool:
            looks.append(port)
            return len(looks) == 1 or free(port)

        monkeypatch.setattr(server, "is_free", is_free)
        running = server.start(root)

    assert looks[:2] == [other.port, other.port]
    assert running.port > other.port


@pytest.mark.parametrize("text", ["http", "80", "65536", "-1"])
def test_bad_port(root: Path, text: str) -> None:
    os.environ["WORKFLOW_SERVER_PORT"] = text

    with pytest.raises(ServerError, match=f"WORKFLOW_SERVER_PORT must be .* not '{text}'"):
        server.start(root)


def test_no_free_port(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "is_free", lambda port: False)

    with pytest.raises(ServerError, match="No port from"):
        server.start(root)


def test_dead_server_is_replaced(root: Path, fake: None) -> None:
    dead = server.start(root)
    os.kill(dead.pid, signal.SIGKILL)
    wait_until_gone(dead)
    assert server.status(root).state == "stopped"

    running = server.start(root)
    assert running.pid != dead.pid
    assert running.port == dead.port


def test_hung_server_is_an_error_and_can_be_stopped(
    root: Path, home: Path, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HANG_SECONDS", 0.2)
    hung = Server(sleeper.pid, unused_port(), server_process.process_identity(sleeper.pid) or "", 0.0)
    server_process.write_state(hung, home)

    with pytest.raises(ServerError, match=rf"process {sleeper.pid}.* does not answer.*workflow server stop"):
        server.start(root)
    assert server.status(root).state == "not answering"
    assert server.stop(root)
    assert sleeper.wait(5) == -signal.SIGTERM


def test_server_that_ignores_sigterm(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_process, "STOP_SECONDS", 0.2)
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + FAKE_SERVER
    monkeypatch.setattr(server_process, "COMMAND", (sys.executable, "-c", stubborn))
    running = server.start(root)

    assert server.stop(root)
    assert not server_process.is_alive(running)


def test_a_starting_server_is_waited_for(root: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its starter was killed; a second server on the same database must not be started."""
    monkeypatch.setattr(server_process, "COMMAND", (sys.executable, "-c", "import time; time.sleep(1)\n" + FAKE_SERVER))
    orphan = server_process.spawn(root, home, unused_port())
    server_process.write_state(orphan, home)

    assert server.start(root) == orphan


@pytest.mark.parametrize(("code", "message"), [("raise SystemExit(1)", "ended"), ("time.sleep(60)", "did not answer")])
def test_failing_start_leaves_nothing_and_shows_the_log(
    root: Path, home: Path, monkeypatch: pytest.MonkeyPatch, code: str, message: str
) -> None:
    monkeypatch.setattr(server, "STARTUP_SECONDS", 1.0)
    command = (sys.executable, "-c", f"import time; print('the reason is this', flush=True); {code}")
    monkeypatch.setattr(server_process, "COMMAND", command)
    spawned: list[Server] = []
    spawn = server_process.spawn

    def remember(*args: Any) -> Server:
        spawned.append(spawn(*args))
        return spawned[-1]

    monkeypatch.setattr(server_process, "spawn", remember)

    with pytest.raises(ServerError, match=rf"(?s){message}.*{home / 'server.log'}:\n  the reason is this"):
        server.start(root)
    assert len(spawned) == 1
    assert not server_process.is_alive(spawned[0])
    assert not server_process.state_path(home).exists()


def test_interrupted_start_leaves_nothing(root: Path, fake: None, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: list[Server] = []

    def interrupt(running: Server, home: Path, seconds: float) -> bool:
        recorded.append(running)
        raise KeyboardInterrupt

    monkeypatch.setattr(server_process, "wait_until_ready", interrupt)
    with pytest.raises(KeyboardInterrupt):
        server.start(root)
    assert not server_process.is_alive(recorded[0])


def test_concurrent_starts_give_one_server(root: Path, fake: None) -> None:
    with ThreadPoolExecutor(8) as pool:
        servers = set(pool.map(lambda _: server.start(root), range(8)))

    assert len(servers) == 1


def test_folder_that_cannot_be_written(root: Path) -> None:
    settings.prefect_home(root).write_text("a file, where the folder should be")

    with pytest.raises(ServerError, match=r"No Prefect server can run in .*: File exists; move the file"):
        server.start(root)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": server.MIN_FREE_BYTES - 1})())


def test_disk_that_is_full(root: Path, fake: None, full_disk: None) -> None:
    home = settings.prefect_home(root)

    with pytest.raises(ServerError, match=rf"No Prefect server can run in {home}: {home}: Only 8\.4 MB .*; free some"):
        server.start(root)


def test_full_disk_explains_a_server_that_fails(root: Path, full_disk: None) -> None:
    own, named = Api("http://127.0.0.1:4200/api"), Api("http://127.0.0.1:4200/api", "the environment")

    assert "Only 8.4 MB are free" in server.diagnose(own, root)
    assert server.diagnose(named, root) == "", "its disk is another"
    assert server.diagnose(None, root) == ""


def test_a_disk_with_space_explains_nothing(root: Path) -> None:
    root.mkdir(exist_ok=True)

    assert server.diagnose(Api("http://127.0.0.1:4200/api"), root) == ""


def test_a_port_that_was_taken_and_released_is_not_a_failure(
    root: Path, home: Path, fake: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[int] = []
    spawn = server_process.spawn

    def spawn_on_a_taken_port(root: Path, home: Path, port: int) -> Server:
        starts.append(port)
        if len(starts) > 1:
            return spawn(root, home, port)
        with monkeypatch.context() as patch:
            code = "print('error while attempting to bind on address: address already in use')"
            patch.setattr(server_process, "COMMAND", (sys.executable, "-c", code))
            return spawn(root, home, port)

    monkeypatch.setattr(server_process, "spawn", spawn_on_a_taken_port)
    assert server.start(root).port == starts[1] > starts[0]


# --- Its password


def require_untrusted(root: Path, pid: int) -> None:
    """Checks that the server is neither used, stopped nor replaced, and that the message says what to do."""
    reported = (
        rf"server \(process {pid}, .*\) was started by an earlier version .* `workflow server stop` and try again"
    )
    for use in (server.start, server.find_api, server.running_api):
        with pytest.raises(ServerError, match=reported):
            use(root)
    assert (server.status(root).state, server.status(root).pid) == ("not trusted", pid)


def test_a_server_of_an_earlier_version_is_not_trusted(root: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_process, "COMMAND", (sys.executable, "-c", OLDER_SERVER))
    older = server_process.spawn(root, home, unused_port())
    server_process.write_state(older, home)
    deadline = time.monotonic() + 10
    while server_process.challenge(older, home) == "no response":
        assert time.monotonic() < deadline
        time.sleep(0.01)

    require_untrusted(root, older.pid)


@pytest.mark.parametrize("change", ["another password", "no password"])
def test_nor_is_one_with_another_password(root: Path, home: Path, fake: None, change: str) -> None:
    pid = server.start(root).pid
    if change == "another password":
        os.environ["PREFECT_SERVER_API_AUTH_STRING"] = "mine:1"
    else:
        password.secret_path(home).unlink()

    require_untrusted(root, pid)
    assert server.stop(root)
    assert server.start(root).pid != pid


def test_server_env_is_about_the_own_server_whichever_is_configured(root: Path, fake: None) -> None:
    running = server.start(root)
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{unused_port()}/api"

    api = server.running_api(root)
    assert (api.url, api.password) == (running.api.url, password.own_password(settings.prefect_home(root)))


def test_the_password_is_not_sent_to_another_program_on_the_port(root: Path, home: Path) -> None:
    """Another user's program may take the port of a server that is starting or has ended."""
    secret = password.ensure_secret(home)
    with Recording() as other:
        asked = server_process.challenge(Server(os.getpid(), other.port, "", 0.0), home)

    assert asked == "unproven"
    assert other.requests
    assert not [request for request in other.requests if secret in request or "Authorization" in request]


def test_a_copied_project_does_not_use_the_server_of_the_other(root: Path, fake: None, tmp_path: Path) -> None:
    running = server.start(root)
    copied = settings.prefect_home(tmp_path / "copy")
    shutil.copytree(settings.prefect_home(root), copied)

    assert server_process.find(copied) is None
    assert not server_process.is_ready(running, copied)


@pytest.mark.parametrize("variable", ["PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING"])
def test_the_users_own_password_is_used_and_never_printed(root: Path, fake: None, variable: str) -> None:
    os.environ[variable] = "me:my own"
    reported: list[str] = []
    api = server.find_api(root, reported.append)

    assert (api.password, api.is_random) == ("me:my own", False)
    assert "my own" not in f"{api!r} {reported} {server.status(root).describe()}"
    settings.use_api(api)
    assert os.environ["PREFECT_API_AUTH_STRING"] == "me:my own"


def test_the_state_of_a_new_project_is_accessible_to_its_owner_only(root: Path, home: Path, fake: None) -> None:
    home.chmod(0o755)
    server.start(root)

    assert home.stat().st_mode & 0o777 == 0o700


# --- The server's database; see test_database.py


#: Does not start on a damaged database.
PICKY_SERVER = """
import os, pathlib
database = pathlib.Path(os.environ["PREFECT_HOME"], "prefect.db")
if database.exists(): raise SystemExit("sqlalchemy.exc.DatabaseError: file is not a database")
"""


@pytest.fixture
def damaged(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database on which the server would not start."""
    monkeypatch.setattr(server_process, "COMMAND", (sys.executable, "-c", PICKY_SERVER + FAKE_SERVER))
    path = home / "prefect.db"
    path.write_text("garbage")
    return path


def test_damaged_database_is_replaced_before_the_server_starts(root: Path, damaged: Path) -> None:
    reported: list[str] = []

    assert server_process.is_alive(server.start(root, reported.append))
    assert [text.split(" (")[0] for text in reported[:2]] == [
        "The database of the Prefect server is damaged",
        "Starting the project's Prefect server",
    ]
    assert not damaged.exists()


def test_damage_found_after_a_failed_start(root: Path, damaged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the database were too large to be checked before each start."""
    find_damage = database.find_damage
    monkeypatch.setattr(database, "find_damage", lambda home, seconds: seconds > 2 and find_damage(home, seconds))

    assert server_process.is_alive(server.start(root))
    assert not damaged.exists()


def test_failed_start_on_an_intact_database(root: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_process, "COMMAND", (sys.executable, "-c", PICKY_SERVER))
    (home / "prefect.db").touch()

    with pytest.raises(ServerError, match="ended while it started"):
        server.start(root)
    assert (home / "prefect.db").exists()


def test_database_of_a_later_version_is_reported_before_the_server_starts(
    root: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_process, "spawn", pytest.fail)
    connection = sqlite3.connect(home / "prefect.db")
    connection.executescript("CREATE TABLE alembic_version (version_num); INSERT INTO alembic_version VALUES ('later')")
    connection.close()
    for begin in (lambda: server.start(root), lambda: prepare(home, pytest.fail)):
        with pytest.raises(ServerError, match="has the schema 'later', which Prefect"):
            begin()


def test_the_database_of_a_running_server_is_not_touched(root: Path, fake: None) -> None:
    running = server.start(root)
    path = settings.prefect_home(root) / "prefect.db"
    path.write_text("garbage")
    prepare(path.parent, pytest.fail)

    assert server.start(root, pytest.fail) == running
    assert path.read_text() == "garbage"
    assert server.diagnose(running.api, root).endswith("stop it with `workflow server stop`")
    assert server.diagnose(Api("http://127.0.0.1:4200/api", "the environment"), root) == ""


def test_a_damaged_database_is_replaced_for_a_temporary_server(home: Path, damaged: Path) -> None:
    printed: list[str] = []
    prepare(home, printed.append)

    assert len(printed) == 1
    assert not damaged.exists()


def prepare(home: Path, notify: Callable[[str], None]) -> None:
    """Prepares the database for a temporary server, and releases the lock."""
    with contextlib.ExitStack() as lock:
        prepare_database(home, notify, lock)


def test_a_proof_relayed_from_another_port_is_not_accepted(root: Path, home: Path, fake: None) -> None:
    """Another user's program that takes the expected port could relay the challenge to a server of the project."""
    real = server.start(root)

    class Relay(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = httpx.get(f"http://127.0.0.1:{real.port}{self.path}")
            self.send_response(answer.status_code)
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Relay) as relay:
        threading.Thread(target=relay.serve_forever).start()
        relayed = Server(real.pid, relay.server_port, real.identity, real.since)
        found = server_process.challenge(relayed, home)
        relay.shutdown()
    assert (server_process.challenge(real, home), found) == ("proven", "unproven")


# --- The real server


RUN_FLOWS = """
from prefect import flow, task
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
@task
def one(number): return number
@flow
def some():
    for number in range(5): one(number)
with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
    for _ in range(5): some()
"""


#: Settings of other servers, which must not affect this one.
OF_OTHERS = {
    "PREFECT_API_DATABASE_CONNECTION_URL": "postgresql+asyncpg://else/else",
    "PREFECT_SERVER_DATABASE_DRIVER": "postgresql+asyncpg",
    "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",
    "PREFECT_MESSAGING_BROKER": "prefect_redis.messaging",
    "PREFECT_SERVER_EVENTS_MESSAGING_CACHE": "prefect_redis.messaging",
    "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "prefect_redis.ordering",
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect_redis.lease_storage",
    "PREFECT_SERVER_DOCKET_URL": "redis://127.0.0.1:1",
    "PREFECT_API_SERVICES_TASK_RUN_RECORDER_ENABLED": "false",
    "PREFECT_SERVER_UI_ENABLED": "false",
}


@pytest.fixture
def odd_root(tmp_path: Path) -> Iterator[Path]:
    """A project whose path has every character that is special in a URL, a shell or a template."""
    root = tmp_path / """what? #1 %41 & {a} $HOME 'b' "c" <d> [e]* ;:@=+~^|!,`\\ é文"""
    root.mkdir()
    yield root
    server.stop(root)


def test_prefects_server(odd_root: Path) -> None:
    """Two processes start it at once, on a damaged database; it serves runs, is killed, and comes back with its data.

    In a folder with a special name, and with settings of other servers in the environment.
    """
    root, home = odd_root, settings.prefect_home(odd_root)
    os.environ |= OF_OTHERS
    home.mkdir()
    (home / "prefect.db").write_text("garbage")
    code = (
        "import pathlib, sys; from flows.services.prefect_server.server import start\n"
        "print(start(pathlib.Path(sys.argv[1])).pid)"
    )
    starts = [
        subprocess.Popen([sys.executable, "-c", code, str(root)], cwd=PROJECT, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    pids = {int(process.communicate()[0]) for process in starts}
    running = server.start(root)
    assert pids == {running.pid}
    assert [path.read_text() for path in home.glob("damaged-*/*")] == ["garbage"]
    assert listening_addresses(running.pid) == {f"0100007F:{running.port:04X}"}
    assert httpx.get(f"{running.ui_url}/ui-settings").json()["api_url"] == running.api.url
    api = server.own_api(running, root)
    assert api.password is not None
    client = httpx.Client(auth=(*api.password.split(":", 1),))
    assert client.get(f"{api.url}/admin/settings").json()["server"]["analytics_enabled"] is False
    assert api.password not in printed_by_ps()
    assert "<html" in httpx.get(f"{running.ui_url}/runs", headers={"Accept": "text/html"}).text
    foreign = httpx.get(f"{running.api.url}/health", headers={"Origin": "http://elsewhere.example"})
    assert "Access-Control-Allow-Origin" not in foreign.headers

    assert {path.name for path in root.parent.iterdir()} == {root.name, "user"}, "and nothing beside it"
    settings.configure_prefect(root, api)
    ran = subprocess.run([sys.executable, "-c", RUN_FLOWS], capture_output=True, text=True, check=True)
    assert "Finished in state Completed" in ran.stderr
    assert "WARNING" not in ran.stderr
    assert "rror" not in ran.stderr
    assert api.password not in ran.stdout + ran.stderr
    del os.environ["PREFECT_API_URL"]

    os.kill(running.pid, signal.SIGKILL)
    wait_until_gone(running)
    again = server.start(root)
    assert again.pid != running.pid
    assert client.post(f"{again.api.url}/flow_runs/count", json={}).json() == 5
    client.close()
    assert server.stop(root)
    assert not server_process.is_alive(again)
    for log in ("server.previous.log", "server.log"):
        printed = (settings.prefect_home(root) / log).read_text()
        assert f"Prefect's server of {settings.prefect_home(root)}: http://127.0.0.1:" in printed
        assert api.password not in printed
        assert not [word for word in ("Traceback", "ERROR", "WARNING", "locked") if word in printed], printed
