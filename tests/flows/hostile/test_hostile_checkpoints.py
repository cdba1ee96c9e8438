"""Weights that somebody hostile has made, each with its digests signed anew wherever they stand: nothing in a file of
weights is carried out, none takes more memory than a small model needs, and none passes for what training made.
"""

import dataclasses
import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.caching.gc.inspection import inspect_store
from tasks.caching.records import Record
from tasks.caching.storage.reference import Reference
from tasks.caching.storage.store import Store
from tests.flows.cache.test_caching import records_of
from tests.flows.test_verify import CHECKPOINT, Run
from tests.support.fork_server import ForkServer, workflow
from tests.support.hostile_files import bounded_memory, pickle_in, rezipped, saved, trap, with_pickle_of

Command = Callable[..., tuple[int, str, str]]
Forgery = Callable[[bytes, Path], bytes]

BILLION = 10**9


def changed(change: Callable[[dict[str, Any]], Any]) -> Forgery:
    """Saves the tensors anew after a change of them."""

    def forge(whole: bytes, canary: Path) -> bytes:
        tensors = torch.load(io.BytesIO(whole), weights_only=True)
        change(tensors)
        return saved(tensors)

    return forge


def declaring_a_billion(whole: bytes, canary: Path) -> bytes:
    """Has the pickle say of a record of one element that it holds a billion."""
    own, other = b"K\x01tq", b"J" + BILLION.to_bytes(4, "little") + b"tq"
    pickled = pickle_in(whole)
    assert own in pickled
    return rezipped(whole, {"data.pkl": pickled.replace(own, other, 1)})


def with_a_record_twice(whole: bytes, canary: Path) -> bytes:
    with pytest.warns(UserWarning, match="Duplicate name"):
        return rezipped(whole, extra=(("archive/data/0", bytes(4)),))


#: What is done to the weights, and what is said of it.
FORGERIES: dict[str, tuple[Forgery, str]] = {
    "NaN": (changed(lambda t: t["bias"].fill_(float("nan"))), "bias: the value at index [0] is nan"),
    "infinite": (changed(lambda t: t["weights"].fill_(float("inf"))), "weights: the value at index [0] is inf"),
    "float64": (changed(lambda t: t.update(bias=t["bias"].double())), "bias: has dtype float64 where the model has"),
    "int32": (changed(lambda t: t.update(bias=t["bias"].int())), "bias: has dtype int32 where the model has float32"),
    "extra": (changed(lambda t: t.update(scale=torch.ones(1))), "scale not expected"),
    "missing": (changed(lambda t: t.pop("bias")), "bias missing"),
    "twice": (with_a_record_twice, "weights: the file holds two records of one name"),
    "bytes after it": (lambda whole, canary: whole + b"\0", "weights: the file has other bytes before or after it"),
    "code": (
        lambda whole, canary: with_pickle_of(whole, {"bias": trap(canary)}),
        "was not run: it asks for posix.mkdir",
    ),
    "nothing but code": (lambda whole, canary: saved(trap(canary)), "was not run: it asks for posix.mkdir"),
    "zip bomb": (
        lambda whole, canary: rezipped(whole, {"data/0": bytes(500_000_000)}, zipfile.ZIP_DEFLATED),
        "is compressed, which torch.save never does",
    ),
    "10⁹ elements on paper": (
        changed(lambda t: t.update(bias=torch.zeros(1).expand(BILLION))),
        "declares a tensor of 1,000,000,000 elements and holds 1",
    ),
    "10⁹ elements declared": (declaring_a_billion, "record size"),
}


def workflow_in_little_memory(*words: str) -> None:
    """The command line, which may take little more memory than it has."""
    with bounded_memory():
        workflow(*words)


class SignedRun(Run):
    """A run that can be tampered with so that no digest shows it."""

    def sign(self) -> None:
        """Signs what lies in the folder: in model.json, in the manifest, in the list of digests and in the record."""
        description = json.loads((self.folder / "model.json").read_bytes())
        description["checkpoint_sha256"] = hashlib.sha256((self.folder / CHECKPOINT).read_bytes()).hexdigest()
        (self.folder / "model.json").write_text(json.dumps(description))
        for name in self.manifest["files"]:
            self.replace(name, (self.folder / name).read_bytes())
        path, record = records_of(self.store)["save"]
        lying = {name: self.store.locate(output.path).read_bytes() for name, output in record.outputs.items()}
        sign_record(path, record, lying)


def sign_record(path: Path, record: Record, contents: dict[str, bytes]) -> None:
    """Puts other bytes, by the names of the outputs, into a record, checksum and all."""
    signed = {name: Reference.of_content(record.outputs[name].path, content) for name, content in contents.items()}
    outputs = {**record.outputs, **signed}
    envelope = json.loads(path.read_bytes()) | {
        "result": dataclasses.replace(record, outputs=outputs).to_json().decode()
    }
    path.write_text(json.dumps(envelope))


@pytest.fixture
def run(trained: Store) -> SignedRun:
    """The run of a project of its own, trained and not yet verified."""
    run = SignedRun(trained)
    (run.folder / "verification.json").unlink()
    return run


# ---- a checkpoint in a run folder


def test_a_run_that_is_signed_anew_passes(run: SignedRun, command: Command) -> None:
    run.sign()
    assert inspect_store(Store(run.store.root)).findings == []
    assert command("verify")[0] == 0


def test_a_weight_changed_by_one_per_cent_and_signed_everywhere_fails_by_its_predictions_alone(
    run: SignedRun, command: Command
) -> None:
    checkpoint = run.folder / CHECKPOINT
    checkpoint.write_bytes(changed(lambda tensors: tensors["weights"].mul_(1.01))(checkpoint.read_bytes(), Path()))
    run.sign()
    assert inspect_store(Store(run.store.root)).findings == []
    code, _, error = command("verify", run.name)
    assert code == 1
    assert "49 of 50 predictions do not agree exactly: first row 1 (train) recorded" in error
    checks = json.loads((run.folder / "verification.json").read_bytes())["checks"]
    assert [check["name"] for check in checks if not check["passed"]] == [
        "predictions",
        "metrics in metrics.json",
        "metrics in model.json",
    ]
    assert checks[-1]["detail"] == "every file is as SHA256SUMS and the record of the save say"


@pytest.mark.parametrize(("forge", "reported"), FORGERIES.values(), ids=FORGERIES)
def test_a_forged_checkpoint_that_is_signed_everywhere_is_refused(
    run: SignedRun, forked: ForkServer, tmp_path: Path, forge: Forgery, reported: str
) -> None:
    checkpoint, canary = run.folder / CHECKPOINT, tmp_path / "canary"
    checkpoint.write_bytes(forge(checkpoint.read_bytes(), canary))
    run.sign()
    assert inspect_store(Store(run.store.root)).findings == []
    done = forked(workflow_in_little_memory, "verify", home=run.store.root)
    assert done.returncode == 1
    assert done.stderr.startswith("error: stage reload failed: ")
    assert reported in done.stderr
    assert done.stderr.count("\n") == 1
    assert json.loads((run.folder / "verification.json").read_bytes())["passed"] is False
    assert not canary.exists()


# ---- weights on their way from one stage to the next


@pytest.mark.parametrize(("forge", "reported"), FORGERIES.values(), ids=FORGERIES)
def test_forged_weights_of_the_train_stage_whose_record_is_signed_are_refused(
    trained: Store, forked: ForkServer, tmp_path: Path, forge: Forgery, reported: str
) -> None:
    path, record = records_of(trained)["train"]
    weights, canary = trained.root / record.outputs["weights"].path, tmp_path / "canary"
    weights.write_bytes(forge(weights.read_bytes(), canary))
    contents = {name: (trained.root / output.path).read_bytes() for name, output in record.outputs.items()}
    sign_record(path, record, contents)
    done = forked(workflow_in_little_memory, "train", "line", "--refresh", "evaluate", home=trained.root)
    assert done.returncode == 1
    assert "train     Cached" in done.stdout, "the forgery is believed as far as digests go"
    assert done.stderr.startswith("error: stage evaluate failed: ")
    assert reported in done.stderr
    assert done.stderr.count("\n") == 1
    assert not canary.exists()
