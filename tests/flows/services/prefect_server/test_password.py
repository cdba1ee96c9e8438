"""The random password of the project's own server: created once, readable by its owner only."""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flows.environment.settings import ServerError
from flows.services.prefect_server.password import (
    VARIABLES,
    ensure_secret,
    own_password,
    read_secret,
    secret_path,
    server_proof,
)


@pytest.fixture(autouse=True)
def no_password_of_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_it_is_created_once_and_only_readable_by_its_owner(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made = ensure_secret(tmp_path)
    finally:
        os.umask(before)
    assert re.fullmatch(r"workflow:[\w-]{43}", made)
    assert secret_path(tmp_path).stat().st_mode & 0o777 == 0o600
    assert ensure_secret(tmp_path) == read_secret(tmp_path) == own_password(tmp_path) == made
    assert [path.name for path in tmp_path.iterdir()] == ["password"]


def test_no_two_projects_have_the_same(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    assert len(set(map(ensure_secret, folders))) == 2


def test_concurrent_processes_agree_on_one(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: ensure_secret(tmp_path), range(50)))
    assert made == {read_secret(tmp_path)}


def test_there_is_none_at_first(tmp_path: Path) -> None:
    assert read_secret(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", "pässword".encode()])
def test_a_file_without_a_password_is_reported(tmp_path: Path, content: bytes) -> None:
    secret_path(tmp_path).write_bytes(content)
    with pytest.raises(ServerError, match=rf"{secret_path(tmp_path)} contains no password\. Remove it"):
        ensure_secret(tmp_path)


def test_a_trailing_newline_is_ignored(tmp_path: Path) -> None:
    secret_path(tmp_path).write_text("me:mine\n")
    assert own_password(tmp_path) == "me:mine"


def test_the_users_password_takes_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "client:1")
    assert own_password(tmp_path) == "client:1"
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "server:1")
    assert own_password(tmp_path) == "server:1"
    assert not secret_path(tmp_path).exists()


def test_a_password_that_prefect_cannot_compare_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "admin:pässword")
    with pytest.raises(ServerError, match="PREFECT_SERVER_API_AUTH_STRING contains a character outside ASCII") as error:
        own_password(tmp_path)
    assert "pässword" not in str(error.value)


def test_a_proof_is_valid_for_one_server_and_one_challenge() -> None:
    given = ("secret", Path("/a/.prefect"), "password", 4200, "0f")
    others = [
        ("secret2", *given[1:]),
        ("secret", Path("/b"), *given[2:]),
        (*given[:2], "p", *given[3:]),
        (*given[:3], 4201, "0f"),
        (*given[:4], "0e"),
    ]
    assert len({server_proof(*words) for words in [given, *others]}) == 6
    assert server_proof("s", Path(os.fsdecode(b"/\xff")), "p", 1, "0") != server_proof("s", Path("/"), "p", 1, "0")
