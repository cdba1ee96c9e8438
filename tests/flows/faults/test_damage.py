"""Every kind of file that a real run leaves, damaged in every way: whoever reads it in earnest notices.

The next run notices damaged artifacts and records, and makes them anew with the same bytes; a verification notices
damaged files of a run. (A training notices damaged training checkpoints: test_crash.py. `workflow check` notices all of
them: caching/test_damage.py.)
"""

import contextlib
import dataclasses
import functools
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import flows.train
from flows.verify import pipeline
from tasks.caching.decision import Walk
from tasks.caching.gc.garbage import passed_verification
from tasks.caching.gc.inspection import inspect_store
from tasks.caching.gc.inventory import UnreadableStoreError
from tasks.caching.key import stage_call
from tasks.caching.records import Record
from tasks.caching.stage import Stage, StageContext
from tasks.caching.storage.reference import Outputs
from tasks.caching.storage.store import Store
from tests.flows.cache.test_caching import digests_of, flip_the_middle, records_of
from tests.flows.conftest import stages_from
from tests.support.file_damage import DAMAGES, FLIPS, flip, flipped, put_back, put_folder

Command = Callable[..., tuple[int, str, str]]

#: The stage that makes each kind of file, and where one lies.
MADE = {
    "parquet": ("split", "data/split/train-*.parquet"),
    "pth": ("train", "artifacts/train/weights-*.pth"),
    "json": ("evaluate", "artifacts/evaluate/metrics-*.json"),
    "png": ("plot", "artifacts/plot/trained-*.png"),
    "svg": ("plot", "artifacts/plot/loss-*.svg"),
    "record": ("split", "artifacts/records/split/*.json"),
}

#: The same of the files of a run.
SAVED = {
    "manifest": ("save", "artifacts/runs/line-2*/run.json"),
    "report": ("save", "artifacts/runs/line-2*/report.html"),
    "checkpoint": ("save", "artifacts/runs/line-2*/*.pth"),
    "description": ("save", "artifacts/runs/line-2*/model.json"),
    "picture": ("save", "artifacts/runs/line-2*/plots/loss.png"),
}

KINDS = MADE | SAVED


def file_of(store: Store, kind: str) -> Path:
    return next(store.root.glob(KINDS[kind][1]))


def require_clean(store: Store) -> None:
    assert inspect_store(Store(store.root)).problems == []


# ---- what the next run reads: artifacts and records


def look_up(path: Path) -> Record | None:
    """The record at a path as Prefect's look-up reads it; None if that takes it for a miss."""
    from tasks.caching.prefect_run import RecordFiles, RecordSerializer

    try:
        envelope = RecordFiles(basepath=str(path.parents[1])).read_path(str(path))
        return RecordSerializer().loads(json.loads(envelope)["result"].encode()).record
    except Exception:  # which is a miss for Prefect, whatever it is
        return None


@pytest.mark.parametrize("kind", KINDS)
def test_no_damaged_file_is_reused(trained: Store, prefect: None, plan: Callable[..., Any], kind: str) -> None:
    stage, path = KINDS[kind][0], file_of(trained, kind)
    record, expected = records_of(trained)[stage]
    whole = path.read_bytes()
    assert look_up(record) == expected
    for name, damage in DAMAGES.items():
        damage(path)
        assert look_up(record) is None, name
        assert plan(trained)[stage].status == "will run", name
        put_back(path, whole)
    assert {decision.status for decision in plan(trained).values()} == {"reused"}


@pytest.mark.parametrize("kind", KINDS)
def test_no_file_with_a_flipped_bit_is_reused(trained: Store, prefect: None, kind: str) -> None:
    path = file_of(trained, kind)
    record, expected = records_of(trained)[KINDS[kind][0]]
    whole = path.read_bytes()
    for bit, altered in flipped(whole, seed=88):
        path.write_bytes(altered)
        found = look_up(record)
        # Around a record is Prefect's envelope, of which nothing is read for truth.
        assert found is None or (kind == "record" and found == expected), f"bit {bit}"
    path.write_bytes(whole)
    assert look_up(record) == expected


@pytest.mark.parametrize("name", ["empty", "NUL", "a link", "a dangling link"])
def test_a_store_with_a_file_of_each_kind_damaged_is_rebuilt(
    trained: Store, train: Callable[..., Any], command: Command, name: str
) -> None:
    before, run = digests_of(trained), (trained.runs / "latest").resolve()
    for kind in KINDS:
        DAMAGES[name](file_of(trained, kind))
    outcome = train("line")
    assert outcome.ran == stages_from("split")
    assert outcome.digests == before
    # What was saved before is not made anew: it stays what it is until it is set aside.
    assert {finding.path.split("/")[2] for finding in inspect_store(Store(trained.root)).problems} == {run.name}
    assert command("check", "--repair")[0] == 0
    assert not run.exists()
    assert command("verify")[0] == 0
    assert train("line").ran == []
    require_clean(trained)


@pytest.mark.parametrize(
    "place", ["data/split/train-*.parquet", "artifacts/records/train/*.json", "artifacts/records/last/line/train.json"]
)
def test_a_folder_in_the_place_of_a_file_is_reported_and_mended(
    trained: Store, train: Callable[..., Any], command: Command, place: str
) -> None:
    before, path = digests_of(trained), next(trained.root.glob(place))
    put_folder(path)
    code, _, error = command("train", "line")
    assert code == 1
    assert error.count("\n") == 1
    assert f"{path}: Is a directory; move the folder" in error
    code, out, _ = command("check")
    assert code == 1
    assert str(path.relative_to(trained.root)) in out
    command("check", "--repair")
    assert train("line").digests == before
    require_clean(trained)


def test_what_an_experiment_used_last_shapes_no_decision(trained: Store, plan: Callable[..., Any]) -> None:
    path = trained.records / "last/line/train.json"
    whole = path.read_bytes()
    for bit, altered in flipped(whole, seed=88, count=FLIPS // 4):
        path.write_bytes(altered)
        assert {decision.status for decision in plan(trained).values()} == {"reused"}, f"bit {bit}"
        assert plan(trained, changes={"training": {"epochs": 3}})["train"].status == "will run"


# ---- what a verification reads: the files of a run


def is_verified(store: Store, run: Path) -> bool:
    """Whether a run passes the stages of a verification, which are called without Prefect."""
    from flows.orchestration import VerifySettings

    walk = Walk()

    def carry_out(stage: Stage[Any], *upstream: Mapping[str, Any]) -> Outputs:
        call = stage_call(stage, VerifySettings(run=run.name, device="cpu"), walk.take(stage, upstream))
        return stage.function(call.config, call.inputs, StageContext(stage.name, Store(store.root)))

    try:
        pipeline(carry_out)
    except Exception:  # in a flow, any makes the verification fail
        return False
    return True


@pytest.fixture(params=[False, True], ids=["with record", "without record"])
def saved(request: pytest.FixtureRequest, trained: Store, prefect: None) -> Store:
    """A project with a run, for which the record of the save vouches, or else only its own list of digests."""
    if request.param:
        shutil.rmtree(trained.records)
    return trained


@pytest.mark.parametrize("kind", SAVED)
def test_no_run_with_a_damaged_file_is_verified(saved: Store, kind: str) -> None:
    path, run = file_of(saved, kind), (saved.runs / "latest").resolve()
    whole = path.read_bytes()
    assert is_verified(saved, run)
    for name, damage in DAMAGES.items():
        damage(path)
        assert not is_verified(saved, run), name
        put_back(path, whole)


@pytest.mark.parametrize("count", [FLIPS // 10, pytest.param(FLIPS, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", SAVED)
def test_no_run_with_a_flipped_bit_is_verified(saved: Store, kind: str, count: int) -> None:
    path, run = file_of(saved, kind), (saved.runs / "latest").resolve()
    for bit, altered in flipped(path.read_bytes(), seed=88, count=count):
        path.write_bytes(altered)
        assert not is_verified(saved, run), f"bit {bit}"


def test_no_bit_of_a_verification_makes_a_failed_one_pass(trained: Store) -> None:
    run = (trained.runs / "latest").resolve()
    trained.forget_run(run.name)  # and with it that the run has passed before
    reported = json.loads((run / "verification.json").read_bytes()) | {"passed": False, "passed_once": False}
    whole = json.dumps(reported, indent=2).encode()
    beginning = whole.index(b"false") + 8
    altered = (flip(whole, bit) for bit in range(8 * beginning))
    for content in (*altered, *(content for _, content in flipped(whole, seed=88))):
        (run / "verification.json").write_bytes(content)
        with contextlib.suppress(UnreadableStoreError):
            assert not passed_verification(run.name, trained), content


# ---- valid files in the place of others


def swap(one: Path, other: Path) -> None:
    aside = one.rename(one.with_name("aside"))
    other.rename(one)
    aside.rename(other)


def test_valid_artifacts_that_were_swapped_are_named_and_made_anew(trained: Store, train: Callable[..., Any]) -> None:
    slower = {"training": {"learning_rate": 0.01}}
    before = [digests_of(trained), train("line", slower).digests]
    pairs = [
        [next(trained.root.glob(f"data/split/{part}-*.parquet")) for part in ("train", "test")],
        *(sorted(trained.root.glob(KINDS[kind][1])) for kind in ("pth", "json", "png")),
        sorted(trained.root.glob("artifacts/records/train/*.json")),
    ]
    for one, other in pairs:
        swap(one, other)
    named = {finding.path for finding in inspect_store(Store(trained.root)).problems}
    assert named == {str(path.relative_to(trained.root)) for pair in pairs for path in pair}
    first, second = train("line"), train("line", slower)
    assert [first.digests, second.digests] == before
    assert first.ran == stages_from("split", "save")
    assert second.ran == stages_from("train", "save")
    require_clean(trained)


def test_runs_that_were_swapped_are_named_and_not_verified(trained: Store, train: Callable[..., Any]) -> None:
    train("line", {"training": {"learning_rate": 0.01}})
    one, other = (path for path in trained.runs.iterdir() if not path.is_symlink())
    assert is_verified(trained, one)
    for inside in ("", "01_workflow_model_0.pth", "model.json", "run.json", "plots/loss.png"):
        swap(one / inside, other / inside)
        problems = {finding.path.split("/")[2] for finding in inspect_store(Store(trained.root)).problems}
        assert problems == {one.name, other.name}, inside
        assert not is_verified(trained, one), inside
        assert not is_verified(trained, other), inside
        swap(one / inside, other / inside)
    assert is_verified(trained, other)


# ---- an input that changes while a stage reads it

#: The input that changes, and the stage that makes it, by the stage that reads it.
CHANGED = {
    "split": ("dataset", "generate"),
    "train": ("train", "split"),
    "evaluate": ("weights", "train"),
    "plot": ("predictions", "evaluate"),
    "save": ("metrics.json", "evaluate"),
}


@pytest.mark.parametrize("stage", CHANGED)
def test_a_result_whose_input_changed_meanwhile_is_not_kept(
    trained: Store, train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    before, (record, _), (name, maker) = digests_of(trained), records_of(trained)[stage], CHANGED[stage]
    record.unlink()
    reading: Stage[Any] = getattr(flows.train, stage)

    @functools.wraps(reading.function)
    def work(config: Any, inputs: Any, context: StageContext) -> Outputs:
        outputs = reading.function(config, inputs, context)
        flip_the_middle(context.store.locate(inputs[name].path))
        return outputs

    with monkeypatch.context() as patch:
        patch.setattr(flows.train, stage, dataclasses.replace(reading, function=work))
        outcome = train("line", may_fail=True)
    assert str(outcome.error).startswith(f"stage {stage} failed: artifact altered: ")
    assert not record.exists()
    again = train("line")
    assert again.ran == [maker, stage]
    assert again.digests == before
    require_clean(trained)
