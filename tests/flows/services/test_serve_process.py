"""The single `workflow serve` process of a project: found, started, rejected a second time, and stopped."""

import os
import sys
from pathlib import Path

import pytest

from flows.environment.settings import ServerError
from flows.services import serve_process
from flows.services.serve_process import ServeProcess, find, lock_path, single_instance


def test_nothing_is_served_at_first(tmp_path: Path) -> None:
    assert find(tmp_path) is None
    assert not serve_process.stop(tmp_path)


def test_the_process_is_found_with_its_reports_once_it_accepts_runs(tmp_path: Path) -> None:
    with single_instance(tmp_path) as ready:
        assert find(tmp_path) == ServeProcess(os.getpid())
        ready("http://127.0.0.1:4300")
        assert find(tmp_path) == ServeProcess(os.getpid(), "http://127.0.0.1:4300")
    assert find(tmp_path) is None


def test_a_second_one_is_rejected(tmp_path: Path) -> None:
    with (
        single_instance(tmp_path),
        pytest.raises(ServerError, match=rf"is already running \(process {os.getpid()}\)"),
        single_instance(tmp_path),
    ):
        pass
    with single_instance(tmp_path):
        assert find(tmp_path) == ServeProcess(os.getpid())


@pytest.mark.parametrize("content", [b"", b"garbage", b"[]", b'{"pid": 1, "more": 2}', b"\0" * 100])
def test_the_file_is_only_valid_while_it_is_locked(tmp_path: Path, content: bytes) -> None:
    lock_path(tmp_path).parent.mkdir(parents=True)
    lock_path(tmp_path).write_bytes(content)
    assert find(tmp_path) is None
    with single_instance(tmp_path) as ready:
        ready("http://127.0.0.1:4300")
        assert find(tmp_path) == ServeProcess(os.getpid(), "http://127.0.0.1:4300")


def test_a_process_that_ends_while_it_starts_is_reported_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock_path(tmp_path).parent.mkdir(parents=True)
    monkeypatch.setattr(serve_process, "COMMAND", (sys.executable, "-c", "print('what went wrong')"))
    with pytest.raises(ServerError, match=r"ended while it started\.\n(.|\n)*what went wrong"):
        serve_process.start(tmp_path)


def test_a_process_that_accepts_no_runs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_process, "STARTUP_SECONDS", 0.2)
    monkeypatch.setattr(serve_process, "COMMAND", ("false",))  # it is not to be started, whatever is wrong
    (tmp_path / ".prefect").mkdir()
    serve_process.log_path(tmp_path).write_text("waits for the server\n")
    with (
        single_instance(tmp_path),
        pytest.raises(ServerError, match=r"did not accept runs within 0.2 s\.\n(.|\n)*waits for the server"),
    ):
        serve_process.start(tmp_path)
