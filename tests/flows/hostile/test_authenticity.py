"""What a run's files prove about one another, and how a run is recognized as the one that was trained."""

import hashlib
import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.caching.runs.sums import SIGNATURE, SUMS
from tests.flows.cache.test_caching import records_of
from tests.flows.hostile.test_hostile_checkpoints import saved
from tests.flows.test_verify import CHECKPOINT, Run, caught, run

__all__ = ["caught", "run"]  # fixtures

Command = Callable[..., tuple[int, str, str]]


def multiplied(checkpoint: bytes, factor: float) -> bytes:
    """A checkpoint with every weight multiplied."""
    tensors = torch.load(io.BytesIO(checkpoint), weights_only=True)
    return saved({name: tensor * factor for name, tensor in tensors.items()})


def refused(command: Command, run: Run) -> tuple[str, str]:
    """What check and reproduce say of a run that they refuse."""
    code, findings, _ = command("check")
    assert code == 1
    code, _, error = command("reproduce", run.name)
    assert code == 2
    return findings, error


# ---- what a run's files prove about one another


def test_a_manifest_that_vouches_for_a_checkpoint_elsewhere_is_caught(
    run: Run, caught: Callable[[], str], command: Command
) -> None:
    """Three files of the folder are forged, so that every digest fits and the intact weights are the ones verified."""
    (run.folder / CHECKPOINT).write_bytes(multiplied((run.folder / CHECKPOINT).read_bytes(), 50))
    manifest = run.manifest
    trained = next(stage for stage in manifest["stages"] if stage["name"] == "train")
    manifest["files"][CHECKPOINT] = trained["outputs"]["weights"]
    run.write_manifest(manifest)
    records_of(run.store)["save"][0].unlink()
    summed = subprocess.run(["sha256sum", "--check", SUMS], cwd=run.folder, capture_output=True, check=False)
    assert summed.returncode == 0, "no digest gives it away"
    assert "which is not in the run's own folder" in caught()
    for said in refused(command, run):
        assert "which is not in the run's own folder" in said


def test_predictions_that_evaluate_does_not_publish_are_caught(run: Run, caught: Callable[[], str]) -> None:
    manifest = run.manifest
    made = next(stage for stage in manifest["stages"] if stage["name"] == "evaluate")["outputs"]
    inside = f"artifacts/runs/{run.name}/{Path(made['predictions']['path']).name}"
    shutil.copy(run.store.root / made["predictions"]["path"], run.store.root / inside)
    made["predictions"]["path"] = inside
    run.write_manifest(manifest)
    assert "predictions of stage evaluate is" in caught()


def test_a_checkpoint_that_training_did_not_make_is_caught(run: Run, caught: Callable[[], str]) -> None:
    manifest = run.manifest
    other = multiplied((run.folder / CHECKPOINT).read_bytes(), 1.0) + b"\0"
    (run.folder / CHECKPOINT).write_bytes(other)
    manifest["files"][CHECKPOINT] |= {"digest": hashlib.sha256(other).hexdigest(), "size": len(other)}
    run.write_manifest(manifest)
    assert "was altered: the digest of its checkpoint is" in caught()


@pytest.mark.parametrize("key", [True, False], ids=["under its key", "under another key"])
def test_the_record_of_the_save_is_found_whatever_the_manifest_says(
    run: Run, caught: Callable[[], str], key: bool
) -> None:
    manifest = run.manifest
    manifest["created"] = "2020-01-01T00:00:00+00:00"
    if not key:
        next(stage for stage in manifest["stages"] if stage["name"] == "save")["key"] = "0" * 64
    run.write_manifest(manifest)
    assert "not as it was saved: artifact altered" in caught()


def test_a_missing_list_of_digests_is_a_finding(
    run: Run, caught: Callable[[], str], command: Command, train: Callable[..., Any]
) -> None:
    (run.folder / SUMS).unlink()
    assert f"artifact missing: artifacts/runs/{run.name}/SHA256SUMS" in caught()
    for said in refused(command, run):
        assert "SHA256SUMS" in said
    assert train().ran == ["save"], "the folder of the run is made again"


def test_a_run_whose_checkpoint_was_altered_is_not_repeated(run: Run, command: Command) -> None:
    (run.folder / CHECKPOINT).write_bytes(multiplied((run.folder / CHECKPOINT).read_bytes(), 50))
    code, out, error = command("reproduce")
    assert (code, out) == (2, "")
    assert f"run {run.name} is damaged, so there is nothing to compare with: artifact altered" in error


#: Which stages the manifest of an altered run names.
NAMED: dict[str, Callable[[list[Any]], list[Any]]] = {
    "all": lambda stages: stages,
    "without save": lambda stages: stages[:-1],
    "without train": lambda stages: [stage for stage in stages if stage["name"] != "train"],
    "none": lambda stages: [],
    "twice": lambda stages: [stages[0], *stages],
    "another for save": lambda stages: [*stages[:-1], stages[-1] | {"name": "kept"}],
}


@pytest.mark.parametrize("named", NAMED.values(), ids=NAMED)
def test_a_run_whose_digests_were_all_made_to_fit_is_not_repeated(
    run: Run, command: Command, named: Callable[[list[Any]], list[Any]]
) -> None:
    other = multiplied((run.folder / CHECKPOINT).read_bytes(), 50)
    (run.folder / CHECKPOINT).write_bytes(other)
    manifest = run.manifest
    manifest["files"][CHECKPOINT] |= {"digest": hashlib.sha256(other).hexdigest(), "size": len(other)}
    manifest["stages"] = named(manifest["stages"])
    run.write_manifest(manifest)
    records_of(run.store)["save"][0].unlink()
    code, out, error = command("reproduce", run.name)
    assert (code, out) == (2, ""), error
    assert re.search(rf"run {run.name} (is damaged, so there is nothing to compare with|has no stage \w+): ", error)
    assert error.count("\n") == 1


# ---- the digest of run.json stands for the run


def digest_of(run: Run) -> str:
    return hashlib.sha256((run.folder / "run.json").read_bytes()).hexdigest()


def test_training_prints_the_digest_that_verification_expects(run: Run, command: Command, api: Any) -> None:
    code, out, error = command("train", "line")
    assert code == 0, error
    digest = next(line.split()[-1] for line in out.splitlines() if line.startswith("run.json"))
    assert digest == digest_of(run) == json.loads(command("show", "--json")[1])["digest"]
    assert digest in command("show")[1]
    assert digest in api.artifacts(api.newest("line on cpu: nothing changed").id)["line-report"]
    assert command("verify", "--expect", digest)[0] == 0
    checks = json.loads((run.folder / "verification.json").read_bytes())["checks"]
    assert (checks[0]["name"], checks[0]["passed"]) == ("expected digest", True)


def test_a_run_whose_files_were_all_forged_is_caught_by_the_digest_that_is_expected(run: Run, command: Command) -> None:
    expected = digest_of(run)
    records_of(run.store)["save"][0].unlink()
    run.write_manifest(run.manifest | {"created": "2020-01-01T00:00:00+00:00"})
    assert command("verify")[0] == 0, "a folder that is rewritten as a whole is consistent"
    code, _, error = command("verify", "--expect", expected)
    assert code == 1
    assert f"{run.name} is not the run that was expected: its run.json has SHA-256 {digest_of(run)}" in error
    assert json.loads((run.folder / "verification.json").read_bytes())["passed"] is False


@pytest.mark.parametrize("digest", ["", "abc", "g" * 64, "A" * 64, "0" * 65, "0" * 64 + "\n"])
def test_what_is_no_digest_is_bad_input(run: Run, command: Command, digest: str) -> None:
    code, out, error = command("verify", "--expect", digest)
    assert (code, out) == (2, "")
    assert "must be a SHA-256: 64 hexadecimal digits" in error
    assert not (run.folder / "verification.json").exists()


# ---- signed with a key


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen (OpenSSH) is not installed")
def test_a_run_can_be_signed_and_the_signature_covers_every_file(run: Run, tmp_path: Path, command: Command) -> None:
    """The commands of docs/SECURITY.md."""

    def shell(line: str) -> int:
        done = subprocess.run(["sh", "-c", line], cwd=run.folder, capture_output=True, check=False)
        return done.returncode

    key, signers = tmp_path / "key", tmp_path / "allowed_signers"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    signers.write_text(f"nightly@example.org {key.with_suffix('.pub').read_text()}")
    assert shell(f"ssh-keygen -Y sign -f {key} -n pytorch-workflow SHA256SUMS") == 0
    check = (
        f"ssh-keygen -Y verify -f {signers} -I nightly@example.org -n pytorch-workflow -s SHA256SUMS.sig <SHA256SUMS"
        " && sha256sum --check --quiet SHA256SUMS"
    )
    assert shell(check) == 0
    assert (run.folder / SIGNATURE).exists()
    assert "clean; looked at" in command("check")[1], "a signature is no foreign file"
    report = run.folder / "report.html"
    report.write_bytes(report.read_bytes() + b" ")
    assert shell(check) != 0, "a file was altered"
    run.write_manifest(run.manifest)
    assert shell(check) != 0, "the list was altered to fit"
