"""`workflow check` on a store as real runs leave it."""

import json
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from tasks.caching.gc.inspection import inspect_store
from tasks.caching.storage.store import Store

Command = Callable[..., tuple[int, str, str]]


def test_a_store_after_a_verified_run_is_clean(trained: Store, command: Command) -> None:
    code, out, _ = command("check")
    assert (code, out.split(";")[0]) == (0, "clean")
    assert "1 run" in out


def files_of(store: Store) -> dict[str, str]:
    """One file of each kind that a run leaves, by what it is."""
    kinds = {
        "table": "data/split/train-*.parquet",
        "weights": "artifacts/train/weights-*.pth",
        "description": "artifacts/train/model-*.json",
        "picture": "artifacts/plot/*.png",
        "record": "artifacts/records/train/*.json",
        "manifest": "artifacts/runs/line-2*/run.json",
        "report": "artifacts/runs/line-2*/report.html",
        "checkpoint": "artifacts/runs/line-2*/*.pth",
        "verification": "artifacts/runs/line-2*/verification.json",
    }
    return {kind: str(next(store.root.glob(pattern)).relative_to(store.root)) for kind, pattern in kinds.items()}


KINDS = ("table", "weights", "description", "picture", "record", "manifest", "report", "checkpoint", "verification")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_damage_is_found_repaired_and_rebuilt_with_the_same_bytes(
    trained: Store, command: Command, train: Any, kind: str, damage: str
) -> None:
    before = digests(trained)
    path = trained.root / files_of(trained)[kind]
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-9])
    code, out, _ = command("check")
    if kind == "record" and damage == "missing":
        assert code == 0, "a missing record is a stage that has not run"
    elif kind == "verification" and damage == "missing":
        assert code == 0, "a run need not be verified"
    else:
        assert code == 1, out
        assert out.startswith(("damaged", "missing"))
        reported = 2 if kind == "manifest" else 1  # the file, and the run that nothing describes any more
        assert sum(line.startswith(("damaged", "missing")) for line in out.splitlines()) == reported, out
    command("check", "--repair")
    train()
    assert digests(trained) == before
    assert inspect_store(Store(trained.root)).problems == []
    assert (trained.runs / "latest").exists()


def digests(store: Store) -> set[str]:
    """The names, and thereby the digests, of all artifacts."""
    return {path.name for folder in ("data", "artifacts") for path in (store.root / folder).glob("*/*-*.*")}


def test_json(trained: Store, command: Command) -> None:
    shutil.rmtree(next(trained.runs.glob("line-2*")))
    code, out, _ = command("check", "--repair", "--json")
    reported = json.loads(out)
    assert (code, reported["clean"]) == (0, True)
    assert {finding["kind"] for finding in reported["findings"]} == {"missing", "damaged"}
    assert any(path.startswith("artifacts/records/save/") for path in reported["repair"]["set_aside"])
    assert not (trained.runs / "latest").is_symlink()


def test_latest_moves_to_the_newest_run_that_is_left(trained: Store, command: Command, train: Any) -> None:
    first = (trained.runs / "latest").readlink()
    second = train(changes={"training": {"learning_rate": 0.02}}).run
    (trained.runs / second / "run.json").write_bytes(b"{")
    assert command("check", "--repair")[0] == 0
    assert (trained.runs / "latest").readlink() == first
    assert (trained.runs / "line-latest").readlink() == first


def test_a_record_that_is_gone_for_good_is_forgotten_so_that_a_collection_can_take_place(
    trained: Store, command: Command
) -> None:
    next(trained.records.glob("train/*.json")).unlink()
    code, _, error = command("collect", "--apply")
    assert code == 1
    assert error.startswith("error: collection refused: artifacts/records/train/")
    assert "restore it, or abandon it with `workflow check --repair`" in error
    code, out, _ = command("check", "--repair")
    assert code == 0
    assert out.startswith("forgotten  artifacts/records/last/line/train.json, now in artifacts/set-aside/")
    assert command("collect", "--apply")[0] == 0
    assert json.loads(command("check", "--repair", "--json")[1])["repair"]["forgotten"] == {}
