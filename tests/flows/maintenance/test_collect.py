"""`workflow collect` on a store as real runs leave it, and beside runs that are going on."""

import json
import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from tasks.caching.gc.collection import collect
from tasks.caching.gc.garbage import Keep, find_garbage
from tasks.caching.gc.inspection import inspect_store
from tasks.caching.gc.uses import find_uses
from tasks.caching.storage.store import Store
from tests.flows.conftest import stages_from
from tests.support.prefect_api import until_there

Command = Callable[..., tuple[int, str, str]]
FASTER = {"training": {"learning_rate": 0.02}}


@pytest.fixture
def two_runs(trained: Store, train: Callable[..., Any]) -> Store:
    """A verified run and a later one, both a day old, without what the verification left."""
    train(changes=FASTER)
    garbage = find_garbage(aged(trained), Keep())
    assert (garbage.runs, garbage.records) == ({}, {})
    collect(trained, garbage)
    return trained


def aged(store: Store) -> Store:
    """Lets everything have been written a day ago."""
    then = time.time() - 24 * 3600
    for path in store.root.rglob("*"):
        os.utime(path, (then, then), follow_symlinks=False)
    return store


def run_names(store: Store) -> list[str]:
    return sorted(path.parent.name for path in store.runs.glob("line-2*/run.json"))


def test_it_only_reports_unless_it_is_to_apply(two_runs: Store, command: Command) -> None:
    words = ("collect", "--keep-last", "1", "--no-keep-verified")
    code, out, error = command(*words)
    assert (code, error) == (0, "")
    assert "would remove 1 run, 4 records, 10 artifacts, and free" in out
    assert out.endswith("add --apply to do it\n")
    assert len(run_names(two_runs)) == 2
    code, out, error = command(*words, "--apply")
    assert (code, error) == (0, "")
    assert "removed 1 run, 4 records, 10 artifacts; freed" in out
    assert len(run_names(two_runs)) == 1
    assert inspect_store(two_runs).findings == []


def test_what_stays_is_still_cached_and_verifies(two_runs: Store, command: Command, train: Callable[..., Any]) -> None:
    command("collect", "--keep-last", "1", "--no-keep-verified", "--apply")
    assert train(changes=FASTER).ran == []
    assert command("verify")[0] == 0
    again = train()
    assert again.ran == stages_from("train"), "what was freed is made anew"
    assert inspect_store(two_runs).problems == []


def test_a_verified_run_stays_after_a_verification_that_failed_for_another_reason(
    trained: Store, train: Callable[..., Any], command: Command
) -> None:
    """Asked about another digest; the same holds for a disk that could not be read."""
    (run,) = run_names(trained)
    assert command("verify", run)[0] == 0
    assert command("verify", run, "--expect", "0" * 64)[0] == 1
    train(changes=FASTER)
    aged(trained)
    assert command("collect", "--keep-last", "1", "--apply")[0] == 0
    assert run in run_names(trained)


def test_a_verified_run_stays(two_runs: Store, command: Command) -> None:
    assert "nothing to remove" in command("collect", "--keep-last", "1")[1]


def test_a_pinned_run_stays(two_runs: Store, command: Command) -> None:
    words = ("collect", "--keep-last", "1", "--no-keep-verified", "--pin", run_names(two_runs)[0])
    code, out, _ = command(*words, "--json")
    reported = json.loads(out)
    assert (code, reported["applied"], reported["bytes"]) == (0, False, 0)
    assert reported["kept"][run_names(two_runs)[0]] == "pinned"


def test_a_pinned_run_that_is_not_there_is_bad_input(trained: Store, command: Command) -> None:
    code, _, error = command("collect", "--pin", "line-9")
    assert (code, error) == (2, "error: there is no run 'line-9': `workflow runs` lists them\n")


def test_to_keep_no_run_is_bad_input(trained: Store, command: Command) -> None:
    code, _, error = command("collect", "--keep-last", "0")
    assert code == 2
    assert "--keep-last" in error


def test_a_run_in_progress_keeps_what_it_uses(
    two_runs: Store, start_process: Callable[..., Any], command: Command
) -> None:
    """It builds on records of which no run that is kept knows, and goes on for longer than the collection takes."""
    words = ("train", "line", "--data.rows", "64", "--training.epochs")
    first = start_process("-m", "flows.cli", *words, "20", "--until", "split", home=two_runs.root)
    assert first.wait(60) == 0
    for last in two_runs.records.glob("last/line/*.json"):
        last.unlink()  # as if the experiment had been used with other settings since
    aged(two_runs)
    going_on = start_process("-m", "flows.cli", *words, "300000", "--until", "train", home=two_runs.root)
    until_there(lambda: True if any("/train/" in path for path in find_uses(two_runs).paths) else None)
    code, _, error = command("collect", "--keep-last", "1", "--apply")
    assert code == 0, error
    assert inspect_store(two_runs).problems == []
    assert going_on.poll() is None, "it ended before the collection, so that nothing was shown"
    assert len(list(two_runs.records.glob("generate/*.json"))) == 2
    going_on.terminate()
    going_on.wait(60)
    aged(two_runs)
    command("collect", "--keep-last", "1", "--apply")
    assert len(list(two_runs.records.glob("split/*.json"))) == 2, "what the experiment used last stays"


def test_after_the_run_its_use_is_forgotten(trained: Store, train: Callable[..., Any], command: Command) -> None:
    train()
    assert command("verify")[0] == 0
    assert find_uses(trained).paths == frozenset()
