"""The one process of a project that serves: found, started, refused a second time, and ended."""

import os
import sys
from pathlib import Path

import pytest

from flows.environment.settings import ServerError
from flows.services import serve_process
from flows.services.serve_process import Serving, find, single_instance, state_path


def test_nobody_serves_at_first(tmp_path: Path) -> None:
    assert find(tmp_path) is None
    assert not serve_process.stop(tmp_path)


def test_who_serves_is_found_with_its_reports_as_soon_as_it_takes_runs(tmp_path: Path) -> None:
    with single_instance(tmp_path) as ready:
        assert find(tmp_path) == Serving(os.getpid())
        ready("http://127.0.0.1:4300")
        assert find(tmp_path) == Serving(os.getpid(), "http://127.0.0.1:4300")
    assert find(tmp_path) is None


def test_a_second_one_is_refused(tmp_path: Path) -> None:
    with (
        single_instance(tmp_path),
        pytest.raises(ServerError, match=rf"runs already \(process {os.getpid()}\)"),
        single_instance(tmp_path),
    ):
        pass
    with single_instance(tmp_path):
        assert find(tmp_path) == Serving(os.getpid())


@pytest.mark.parametrize("content", [b"", b"garbage", b"[]", b'{"pid": 1, "more": 2}', b"\0" * 100])
def test_what_the_file_says_counts_only_while_it_is_locked(tmp_path: Path, content: bytes) -> None:
    state_path(tmp_path).parent.mkdir(parents=True)
    state_path(tmp_path).write_bytes(content)
    assert find(tmp_path) is None
    with single_instance(tmp_path) as ready:
        ready("http://127.0.0.1:4300")
        assert find(tmp_path) == Serving(os.getpid(), "http://127.0.0.1:4300")


def test_one_that_ends_while_it_starts_is_told_with_the_end_of_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state_path(tmp_path).parent.mkdir(parents=True)
    monkeypatch.setattr(serve_process, "COMMAND", (sys.executable, "-c", "print('what went wrong')"))
    with pytest.raises(ServerError, match=r"ended while it started\.\n(.|\n)*what went wrong"):
        serve_process.start(tmp_path)


def test_one_that_takes_no_runs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_process, "STARTUP_SECONDS", 0.2)
    monkeypatch.setattr(serve_process, "COMMAND", ("false",))  # it is not to be started, whatever is wrong
    (tmp_path / ".prefect").mkdir()
    serve_process.log_path(tmp_path).write_text("waits for the server\n")
    with (
        single_instance(tmp_path),
        pytest.raises(ServerError, match=r"took no runs within 0.2 s\.\n(.|\n)*waits for the server"),
    ):
        serve_process.start(tmp_path)
