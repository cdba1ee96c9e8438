import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.caching.runs.manifest import (
    MANIFEST,
    ArtifactEntry,
    Environment,
    ForeignManifestError,
    Manifest,
    ManifestError,
    StageEntry,
)
from tasks.caching.stage import StageReport
from tasks.caching.storage.reference import Reference
from tasks.caching.storage.store import MOST_HELD
from tests.support.hostile_files import bounded_memory

SHA = hashlib.sha256(b"weights").hexdigest()
WEIGHTS = Reference.of_content(f"artifacts/train/weights-{SHA}.pth", b"weights")
CHECKPOINT = Reference.of_content("artifacts/runs/line-1/line.pth", b"weights")
MADE = Manifest(
    run="line-1",
    created="2026-01-02T03:04:05+00:00",
    checkpoint="line.pth",
    experiment={"name": "line", "data": {"rows": 50}},
    seed=42,
    environment=Environment(
        device="cpu",
        device_note="",
        threads=1,
        python="3.11.7",
        machine="Linux x86_64",
        versions={"torch": "2.13.0"},
        git_commit=None,
    ),
    stages=[
        StageEntry.of(StageReport("train", "0" * 64, "run", ("first run of line",), 1.5, {"weights": WEIGHTS})),
        StageEntry.of(StageReport("save", "1" * 64, "running", ("first run of line",))),
    ],
    files={"line.pth": ArtifactEntry(**CHECKPOINT.to_json())},
)


def lay(root: Path, content: bytes, run: str = "line-1") -> Path:
    folder = root / run
    folder.mkdir(exist_ok=True)
    (folder / MANIFEST).write_bytes(content)
    return folder


def train_outputs(**fields: Any) -> bytes:
    """The manifest with another entry for the weights that stage `train` made."""
    stages = MADE.model_dump(mode="json")["stages"]
    stages[0]["outputs"]["weights"] |= fields
    return changed(stages=stages)


def changed(**fields: Any) -> bytes:
    return json.dumps(MADE.model_dump(mode="json") | fields).encode()


def test_a_manifest_reads_as_it_was_written(tmp_path: Path) -> None:
    assert Manifest.read(lay(tmp_path, MADE.model_dump_json(indent=2).encode())) == MADE


def test_an_entry_gives_the_reference_back() -> None:
    assert MADE.stage("train").outputs["weights"].reference() == WEIGHTS


def test_a_stage_is_found_by_name_or_said_to_be_missing() -> None:
    assert MADE.stage("save").status == "running"
    with pytest.raises(ManifestError, match="run line-1 has no stage plot"):
        MADE.stage("plot")


def test_a_missing_manifest_names_the_file_and_asks_whether_it_is_a_run(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="No such file or directory; is this a run folder") as error:
        Manifest.read(tmp_path)
    assert str(tmp_path / MANIFEST) in str(error.value)


def test_a_folder_in_its_place_is_said(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).mkdir()
    with pytest.raises(ManifestError, match="Is a directory"):
        Manifest.read(tmp_path)


def test_a_manifest_that_ends_early_is_damaged_wherever_it_ends(tmp_path: Path) -> None:
    content = MADE.model_dump_json().encode()
    for end in range(len(content)):
        with pytest.raises(ManifestError, match="is damaged"):
            Manifest.read(lay(tmp_path, content[:end]))


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b"\xff\xfe", "the file"),
        (b"null", "the file"),
        (b"[]", "the file"),
        (b"{}", "run"),
        (changed(run=None), "run"),
        (changed(surprise=1), "surprise"),
        (changed(stages=[{}]), r"stages\.0\.name"),
        (changed(files={"x": {**WEIGHTS.to_json(), "path": "../../x"}}), r"files\.x: .*must stay inside"),
        (changed(files={"x": {**WEIGHTS.to_json(), "digest": "?"}}), r"files\.x: .*not a SHA-256"),
        (
            changed(files={"line.pth": WEIGHTS.to_json()}),
            r"files\.line\.pth is artifacts/train/.*not in the run's",
        ),
        (changed(files={"plots/x.png": CHECKPOINT.to_json()}), r"files\.plots/x\.png is .*not in the run's own folder"),
        (changed(run="line-2"), r"files\.line\.pth is artifacts/runs/line-1/line\.pth, which is not in the run's own"),
        (changed(run="line-2", files={}), "the file: it is that of run line-2"),
        (train_outputs(path=f"data/train/weights-{SHA}.pth"), "weights of stage train is data/.*does not publish"),
        (train_outputs(path=f"artifacts/runs/weights-{SHA}.pth"), "weights of stage train is .*does not publish"),
        (train_outputs(path=f"artifacts/train/x/weights-{SHA}.pth"), "weights of stage train is .*does not publish"),
        (train_outputs(path="artifacts/train/weights.pth"), "weights of stage train is .*does not publish"),
        (train_outputs(digest="0" * 64), "weights of stage train is .*does not publish"),
        (train_outputs(kind="parquet"), "weights of stage train is .*does not publish"),
        (changed(schema_version="?"), "schema_version"),
        (changed(experiment={}), "experiment: .*it has no name"),
        (changed(experiment={"name": 3}), "experiment: .*it has no name"),
        (changed(experiment={"name": "line", "training": []}), "experiment: .*training holds something that is no"),
        (changed(experiment={"name": "line", "training": {"epochs": [[3]]}}), "experiment: .*training holds something"),
        (changed(experiment={"name": "line", "data": {"x": {"y": 1}}}), "experiment: .*data holds something"),
        (
            MADE.model_dump_json().replace('"run":', '"run":"other","run":').encode(),
            "the file: the key 'run' occurs tw",
        ),
        (MADE.model_dump_json().replace('"seed":42', '"seed":NaN').encode(), "the file: NaN is not a number"),
        (MADE.model_dump_json().encode() + b"{}", "the file: Extra data"),
        (MADE.model_dump_json().encode() + b"\0", "the file: Extra data"),
        (b"[" * 100_000, "the file: it is nested too deeply"),
    ],
)
def test_a_damaged_manifest_names_the_file_the_field_and_what_to_do(tmp_path: Path, content: bytes, field: str) -> None:
    with pytest.raises(ManifestError, match=rf"is damaged \({field}.*train again to make a new run") as error:
        Manifest.read(lay(tmp_path, content))
    assert str(error.value).startswith(str(tmp_path / "line-1" / MANIFEST))


#: What no name may be: it leads elsewhere, no file system takes it, or it does not stand as it is in a line.
NO_NAMES = ["", ".", "..", "../../x", "/x", "a/../../x", "a\0b", "a\nb", "n" * 300, "コピー\u30001", "a b", ".x", "-x"]

#: Each place in a manifest of which a path is made, with the field that is named.
PLACES: dict[str, tuple[str, Callable[[str], dict[str, Any]]]] = {
    "run": ("run", lambda name: {"run": name}),
    "checkpoint": ("checkpoint", lambda name: {"checkpoint": f"{name}.pth"}),
    "experiment": ("experiment", lambda name: {"experiment": {"name": name}}),
    "stage": (r"stages\.0\.name", lambda name: {"stages": [MADE.stages[0].model_dump() | {"name": name}]}),
    "key": (r"stages\.0\.key", lambda name: {"stages": [MADE.stages[0].model_dump() | {"key": name}]}),
    "file": ("'?files", lambda name: {"files": {name: WEIGHTS.to_json()}}),
    "path of a file": (r"files\.x", lambda name: {"files": {"x": WEIGHTS.to_json() | {"path": name}}}),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", NO_NAMES)
def test_no_name_that_a_person_could_not_give_is_read(tmp_path: Path, place: str, name: str) -> None:
    field, put = PLACES[place]
    with pytest.raises(ManifestError, match=rf"is damaged \({field}.*train again to make a new run") as error:
        Manifest.read(lay(tmp_path, changed(**put(name))))
    assert str(error.value).isprintable()


@pytest.mark.parametrize("name", ["a", "A.b_c-1", "latest", "n" * 64])
def test_every_name_that_a_person_can_give_is_read(tmp_path: Path, name: str) -> None:
    fields = {"run": f"{name}-20260102-030405-12", "checkpoint": f"{name}.pth", "experiment": {"name": name}}
    run = f"{name}-20260102-030405-12"
    named = (f"{name}.pth", "model.json", "plots/data.svg")
    files = {file: CHECKPOINT.to_json() | {"path": f"artifacts/runs/{run}/{file}"} for file in named}
    assert Manifest.read(lay(tmp_path, changed(**fields, files=files), run)).run == run


@pytest.mark.parametrize("threads", [-1, 0, 1025, 1_000_000, 2**70, True, "2", 1.0])
def test_no_number_of_threads_is_read_that_no_experiment_may_have(tmp_path: Path, threads: object) -> None:
    environment = MADE.environment.model_dump() | {"threads": threads}
    with pytest.raises(ManifestError, match=r"is damaged \(environment\.threads: Input should be"):
        Manifest.read(lay(tmp_path, changed(environment=environment)))


def test_the_threads_are_those_of_the_experiment(tmp_path: Path) -> None:
    environment = MADE.environment.model_dump() | {"threads": 1024}
    for threads in (None, 1024):
        experiment = {"name": "line", "training": {"threads": threads}}
        assert Manifest.read(lay(tmp_path, changed(environment=environment, experiment=experiment)))
    experiment = {"name": "line", "training": {"threads": 2}}
    with pytest.raises(ManifestError, match=r"is damaged \(environment: .*1024 threads, and training\.threads is 2"):
        Manifest.read(lay(tmp_path, changed(environment=environment, experiment=experiment)))


def test_no_file_of_a_run_is_larger_than_any_that_was_saved(tmp_path: Path) -> None:
    for size in (MOST_HELD, MOST_HELD + 1):
        content = changed(files={"line.pth": CHECKPOINT.to_json() | {"size": size}})
        if size == MOST_HELD:
            assert Manifest.read(lay(tmp_path, content))
        else:
            with pytest.raises(ManifestError, match=r"is damaged \(files: .*line\.pth has 1,073,741,825 bytes"):
                Manifest.read(lay(tmp_path, content))


def test_a_manifest_larger_than_any_is_not_held_in_memory(tmp_path: Path) -> None:
    with lay(tmp_path, b"{").joinpath(MANIFEST).open("r+b") as file:
        file.truncate(1 << 40)  # a hole, which takes no room
    with bounded_memory(), pytest.raises(ManifestError, match=r"cannot be read .*at most 67,108,864 are read"):
        Manifest.read(tmp_path / "line-1")


@pytest.mark.parametrize(
    ("content", "schema"),
    [
        (changed(schema_version=0), 0),
        (changed(schema_version=2), 2),
        (b'{"schema_version": 2, "of another form": []}', 2),
    ],
)
def test_a_manifest_of_another_schema_is_said_to_be_one_and_not_damaged(
    tmp_path: Path, content: bytes, schema: int
) -> None:
    said = f"has schema {schema}, this version reads schema 1: use the version of pytorch-workflow that made it"
    with pytest.raises(ForeignManifestError, match=said):
        Manifest.read(lay(tmp_path, content))


@pytest.mark.parametrize(
    "change", [lambda: setattr(MADE, "run", "x"), lambda: setattr(MADE.environment, "device", "x")]
)
def test_a_manifest_cannot_be_changed(change: Callable[[], None]) -> None:
    with pytest.raises(ValueError, match="frozen"):
        change()
