"""Run folders that somebody hostile has made: each command says in one message what is wrong, and with which."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.caching.storage.store import Store

Command = Callable[..., tuple[int, str, str]]

#: Moves the cursor, changes the window's title, and is markup for rich: none of it may be more than text.
STEERING = "\x1b[2J\x1b]0;evil\x07\r[bold][/][link=http://example.org]x[/link]\x9b31m\N{RIGHT-TO-LEFT OVERRIDE}"


@pytest.fixture
def hostile(trained: Store) -> Path:
    """The folder of a run beside the one that was trained, to be tampered with."""
    folder, own = trained.runs / "line-hostile", (trained.runs / "latest").resolve()
    shutil.copytree(own, folder)
    manifest = folder / "run.json"
    manifest.write_text(manifest.read_text().replace(own.name, folder.name))
    return folder


def change(path: Path, how: Callable[[Any], Any]) -> None:
    """Rewrites a JSON file."""
    path.write_text(json.dumps(how(json.loads(path.read_bytes()))))


def with_every_text(value: Any, text: str) -> Any:
    """A copy in which `text` is in the place of every text and every key that is nothing special."""
    if isinstance(value, dict):
        return {name: with_every_text(inner, text) for name, inner in value.items()}
    if isinstance(value, list):
        return [with_every_text(inner, text) for inner in value]
    return text if isinstance(value, str) else value


METRICS: dict[str, bytes] = {
    "no object": b"[]",
    "no parts": b"{}",
    "no part": b'{"test": 3}',
    "an empty part": b'{"test": {}}',
    "no test part": b'{"train": {"loss": 1, "mae": 1, "r2": 1}}',
    "texts": b'{"test": {"loss": "1", "mae": 1, "r2": 1}}',
    "lists": b'{"test": {"loss": [1], "mae": 1, "r2": 1}}',
    "NaN": b'{"test": {"loss": NaN, "mae": 1, "r2": 1}}',
    "a key twice": b'{"test": {"loss": 1, "loss": 2, "mae": 1, "r2": 1}}',
    "nested without end": b"[" * 200_000,
    "zeros": bytes(500),
    "more after it": b'{"test": {"loss": 1, "mae": 1, "r2": 1}} {}',
}


@pytest.mark.parametrize("content", METRICS.values(), ids=METRICS)
def test_metrics_that_are_none_are_reported_and_the_other_runs_are_listed(
    trained: Store, hostile: Path, command: Command, content: bytes
) -> None:
    (hostile / "metrics.json").write_bytes(content)
    reported = f"run line-hostile is damaged: {hostile / 'metrics.json'} cannot be read; train again\n"
    other = (trained.runs / "latest").resolve().name
    code, out, error = command("runs")
    assert (code, error) == (0, reported)
    assert other in out
    assert command("show", hostile.name)[::2] == (2, f"error: {reported}")
    assert command("compare", hostile.name, other) == (2, "", f"error: {reported}")
    assert command("check")[0] == 1


@pytest.mark.parametrize(
    "content", [b"[" * 200_000, b"[]", b'{"passed": true, "passed": false}', b'{"passed": NaN}', b"\xff"]
)
def test_a_verification_that_is_none_counts_as_none(hostile: Path, command: Command, content: bytes) -> None:
    (hostile / "verification.json").write_bytes(content)
    assert {entry["run"]: entry["verified"] for entry in json.loads(command("runs", "--json")[1])}[hostile.name] is None
    assert command("show", hostile.name)[0] == 0


@pytest.mark.parametrize("passed", ["yes", 1, [True], {"passed": True}, None])
def test_nothing_but_true_says_that_a_run_was_verified(hostile: Path, command: Command, passed: Any) -> None:
    (hostile / "verification.json").write_text(json.dumps({"passed": passed, "checks": 3}))
    assert json.loads(command("runs", "--json")[1])[-1]["verified"] is False
    assert "FAILED" in command("show", hostile.name)[1]


def test_no_text_of_a_run_steers_the_terminal(trained: Store, hostile: Path, command: Command) -> None:
    def steer(manifest: Any) -> Any:
        texts = with_every_text(manifest, STEERING)
        kept = {
            name: manifest[name] for name in ("run", "created", "checkpoint", "files")
        }  # no text may stand for these
        stages = [stage | {"reasons": [STEERING]} for stage in manifest["stages"]]
        experiment = texts["experiment"] | {STEERING: STEERING, "name": manifest["experiment"]["name"]}
        return texts | kept | {"stages": stages, "experiment": experiment}

    change(hostile / "run.json", steer)
    change(hostile / "metrics.json", lambda metrics: metrics | {STEERING: metrics["test"] | {STEERING: 1.0}})
    other = (trained.runs / "latest").resolve().name
    for words in (["runs"], ["show", hostile.name], ["compare", other, hostile.name], ["check"], ["collect"]):
        code, out, error = command(*words)
        assert code == (1 if words in (["check"], ["collect"]) else 0), error
        assert all(letter.isprintable() or letter == "\n" for letter in out + error), words
    assert "evil" in command("show", hostile.name)[1]
    for words in (["runs"], ["show", hostile.name], ["compare", other, hostile.name]):
        assert command(*words, "--json")[1].isascii()


def test_no_text_of_an_error_steers_the_terminal(hostile: Path, command: Command) -> None:
    change(hostile / "run.json", lambda manifest: manifest | {STEERING: 1})
    code, out, error = command("show", hostile.name)
    assert (code, out) == (2, "")
    assert "evil" in error
    assert error.removesuffix("\n").isprintable()


@pytest.mark.parametrize(
    ("settings", "reported"),
    [
        ({"training": {"epochs": -1}}, "training.epochs: input should be greater than or equal to 1 (got -1)"),
        ({"training": {"device": "tpu"}}, "training.device: 'tpu' is not of its form"),
        ({"colour": "red"}, "colour: unknown field"),
        ({"training": 3}, "training: input should be a valid dictionary"),
    ],
    ids=str,
)
def test_a_run_whose_experiment_is_none_is_not_repeated(
    hostile: Path, command: Command, settings: dict[str, Any], reported: str
) -> None:
    def alter(manifest: Any) -> Any:
        experiment = manifest["experiment"]
        changes = {
            name: experiment.get(name, {}) | value if isinstance(value, dict) else value
            for name, value in settings.items()
        }
        return manifest | {"experiment": experiment | changes}

    change(hostile / "run.json", alter)
    code, out, error = command("reproduce", hostile.name)
    assert (code, out) == (2, "")
    assert error.startswith("error: the manifest of line-hostile is not a valid experiment:")
    assert reported in error
