"""The promises of the cache: nothing is computed twice, and nothing stale is ever reused."""

import json
import os
import random
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.train import pipeline
from tasks.caching import key
from tasks.caching.records import Record
from tasks.caching.stage import stages
from tasks.caching.storage.reference import Reference
from tasks.caching.storage.store import Store
from tests.flows.conftest import STAGES, made, stages_from, why

#: The kinds of artifacts, of which the list of digests has none, and the record.
KINDS = ["parquet", "pth", "json", "png", "svg", "html", "", "record"]

#: Runs the command line with one stage that is killed inside its work. The key of the stage stays, because it is made
#: of the module that the stage is in.
DRIVER = """
import dataclasses, functools, os, signal, sys
import flows.train
from flows.cli import main
from tasks.caching.storage import durable, store

name, *arguments = sys.argv[1:]
stage = getattr(flows.train, name)

def write_half(path, content):
    path.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)

@functools.wraps(stage.function)
def work(config, inputs, context):
    store.write_durably = durable.write_durably = write_half
    return stage.function(config, inputs, context)

setattr(flows.train, name, dataclasses.replace(stage, function=work))
main(arguments)
"""


def records_of(store: Store) -> dict[str, tuple[Path, Record]]:
    """The one record of each stage, and its file."""
    files = {stage: next((store.records / stage).iterdir()) for stage in STAGES}
    return {stage: (file, Record.from_json(json.loads(file.read_bytes())["result"])) for stage, file in files.items()}


def artifacts_of(store: Store) -> list[tuple[str, str, Path]]:
    """Every artifact in a store, the records included: its stage, its kind, and its file."""
    found = []
    for stage, (file, record) in records_of(store).items():
        found.append((stage, "record", file))
        found += [(stage, output.kind, store.root / output.path) for output in record.outputs.values()]
    return found


def digests_of(store: Store) -> dict[str, str]:
    """The digest of every artifact but for the two that hold times."""
    return {
        f"{stage}.{name}": output.digest
        for stage, (_, record) in records_of(store).items()
        for name, output in record.outputs.items()
        if name not in ("run.json", "report.html", "SHA256SUMS")
    }


def flip_bit(path: Path, bit: int) -> None:
    """Flips one bit of a file in place."""
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def delete(path: Path) -> None:
    """Takes a file away."""
    path.unlink()


def truncate(path: Path) -> None:
    """Leaves the first half of a file."""
    os.truncate(path, path.stat().st_size // 2)


def flip_the_middle(path: Path) -> None:
    """Flips one bit in the middle of a file."""
    flip_bit(path, path.stat().st_size * 4)


DAMAGES = [delete, truncate, flip_the_middle]


# ---- what changes nothing, and what changes something


def test_a_changed_learning_rate_reruns_training_and_what_follows(trained: Store, train: Callable[..., Any]) -> None:
    outcome = train("line", {"training": {"learning_rate": 0.01}})
    assert outcome.ran == stages_from("train")
    assert outcome.reasons["train"] == ("training.learning_rate 0.03 → 0.01",)
    assert outcome.reasons["evaluate"] == ("input weights changed",)


def test_going_back_to_what_was_computed_before_computes_nothing(trained: Store, train: Callable[..., Any]) -> None:
    first = train("line")
    train("line", {"training": {"learning_rate": 0.01}})
    again = train("line")
    assert (again.ran, again.run) == ([], first.run)
    assert again.reasons["train"] == ("computed before",)


def test_experiments_of_another_name_share_what_they_have_in_common(trained: Store, train: Callable[..., Any]) -> None:
    assert train("line", {"name": "other"}).ran == ["plot", "save"]  # whose results show the name


def test_a_settings_change_that_shapes_nothing_before_save_reruns_only_save(
    trained: Store, train: Callable[..., Any]
) -> None:
    assert train("line", {"checkpoint": "mine.pth"}).ran == ["save"]
    assert (trained.runs / "latest" / "mine.pth").is_file()


def test_the_number_of_threads_reruns_what_depends_on_it(trained: Store, plan: Callable[..., Any]) -> None:
    threads = json.loads((trained.runs / "latest" / "run.json").read_bytes())["environment"]["threads"]
    decisions = plan(trained, "line", {"training": {"threads": threads + 1}})
    assert decisions["split"].status == "reused"
    assert why(decisions["train"]) == (f"training.threads {threads} → {threads + 1}",)


def test_a_refresh_that_gives_the_same_bytes_leaves_everything_after_it_cached(
    trained: Store, train: Callable[..., Any], api: Any
) -> None:
    outcome = train("line", refresh=["generate"])
    expected = [("generate", "Completed"), *((name, "Cached") for name in STAGES[1:])]
    assert api.stages(outcome.flow_run_id, len(STAGES)) == expected


def test_new_weights_that_are_the_old_ones_leave_later_stages_cached(trained: Store, train: Callable[..., Any]) -> None:
    # The seed draws the initial values that are not given, and both are.
    given = {"model": {"initial_weight": 0.1, "initial_bias": 0.2}}
    train("line", given)
    assert train("line", given | {"training": {"seed": 7}}).ran == ["train", "save"]
    # A batch of all 40 rows is what there is without one.
    assert train("line", {"training": {"batch_size": 40}}).ran == []


def test_a_setting_that_cannot_matter_reruns_what_writes_it_down_alone(
    trained: Store, train: Callable[..., Any]
) -> None:
    unused = {"split": {"seed": 5}, "data": {"seed": 6}, "training": {"placement": "moved", "step_every": 7}}
    assert train("line", unused).ran == ["save"]


# ---- libraries


@pytest.fixture
def older_torch(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Another version of torch, as far as keys know."""
    original = key.version
    with monkeypatch.context() as patch:
        patch.setattr(key, "version", lambda name: "2.12.0" if name == "torch" else original(name))
        yield


def test_another_version_of_a_library_reruns_the_stages_that_it_shapes(
    trained: Store, train: Callable[..., Any], older_torch: None
) -> None:
    outcome = train("line")
    assert outcome.ran == ["train", "evaluate"]  # which give the same bytes, so that the rest is reused
    reported = [reason for reason in outcome.reasons["train"] if re.fullmatch(r"torch 2\.\S+ → 2\.12\.0", reason)]
    assert len(reported) == len(outcome.reasons["train"]) == 1


@pytest.mark.parametrize(
    ("library", "shaped"),
    [
        ("torch", ["train", "evaluate"]),
        ("numpy", ["generate", "split", "train", "evaluate", "plot"]),
        ("pyarrow", ["generate", "split", "train", "evaluate", "plot"]),
        ("matplotlib", ["plot"]),
        ("pillow", ["plot"]),
        ("kiwisolver", ["plot"]),
        ("jinja2", ["save"]),
        ("markupsafe", ["save"]),
        ("python", list(STAGES)),
        ("prefect", []),
    ],
)
def test_each_library_counts_for_the_stages_that_it_shapes(
    trained: Store, plan: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, library: str, shaped: list[str]
) -> None:
    original = key.version
    monkeypatch.setattr(key, "version", lambda name: "99" if name == library else original(name))
    decisions = plan(trained, "line")
    reported = f"{library} {original(library)} → 99"
    changed = [name for name, decision in decisions.items() if reported in why(decision)]
    own = [stage for stage in stages(pipeline) if stage.name in STAGES]
    assert changed == [stage.name for stage in own if library in ("python", *stage.libraries)]
    assert set(shaped) <= set(changed)
    before = STAGES[: STAGES.index(changed[0])] if changed else STAGES
    assert all(decisions[name].status == "reused" for name in before)


@pytest.mark.parametrize(("variable", "name"), [("ATEN_CPU_CAPABILITY", "CPU capability"), ("MKL_CBWR", "MKL_CBWR")])
def test_what_torch_computes_with_counts_for_the_stages_that_do(
    trained: Store, plan: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, variable: str, name: str
) -> None:
    monkeypatch.setenv(variable, "default")
    reported = {
        stage: [reason for reason in why(d) if reason.startswith(f"{name} ")]
        for stage, d in plan(trained, "line").items()
    }
    assert [stage for stage, reasons in reported.items() if reasons] == ["train", "evaluate"]
    assert reported["train"] in (
        ["CPU capability AVX512 → DEFAULT"],
        ["CPU capability AVX2 → DEFAULT"],
        ["MKL_CBWR absent → default"],
    )


def test_what_draws_letters_counts_for_the_stage_that_draws(
    trained: Store, plan: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FREETYPE_PROPERTIES", "truetype:interpreter-version=35")
    reasons = {stage: why(decision) for stage, decision in plan(trained, "line").items()}
    reported = "FREETYPE_PROPERTIES absent → truetype:interpreter-version=35"
    assert [stage for stage, found in reasons.items() if reported in found] == ["plot"]


# ---- code


def edit(path: Path, old: str, new: str) -> None:
    """Replaces a text that is in a file once."""
    text = path.read_text()
    assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {path}"
    path.write_text(text.replace(old, new))


@pytest.fixture
def plan_in_tree(workflow: Any, trained: Store, own_tree: Path) -> Callable[[], dict[str, Any]]:
    """What `workflow plan --json` says in a copied tree: by stage, its status and its reasons."""

    def run() -> dict[str, Any]:
        done = workflow("plan", "line", "--json", home=trained.root, tree=own_tree)
        assert done.returncode == 0, done.stderr
        return {entry["stage"]: entry for entry in json.loads(done.stdout)}

    return run


def test_comments_docstrings_and_formatting_change_nothing(
    plan_in_tree: Callable[[], dict[str, Any]], own_tree: Path
) -> None:
    learning = own_tree / "tasks" / "learning"
    edit(
        learning / "training" / "loop.py", '"""The training loop."""', '"""How a model is fitted."""  # a comment\n\n\n'
    )
    edit(
        learning / "losses" / "l1.py",
        "return (prediction - target).abs().mean()",
        "return ( (prediction-target).abs().mean())",
    )
    edit(learning / "splitting" / "parts.py", "def split_rows(", "# A comment.\ndef split_rows(")
    assert {entry["status"] for entry in plan_in_tree().values()} == {"reused"}


@pytest.mark.parametrize(
    ("file", "old", "new", "reported", "reruns"),
    [
        # train → loop → losses
        ("losses/l1.py", ".abs().mean()", ".abs().sum() / len(target)", "batch_loss", ["train"]),
        # evaluate → metrics → losses
        ("losses/mse.py", "(target - prediction) ** 2", "2 * (target - prediction) ** 2", "row_losses", ["evaluate"]),
        # plot → figures → losses
        ("losses/l1.py", "L1 loss (mean", "L1 (mean", "LABEL", ["plot"]),
        # train and evaluate → predictions → columns; both import predictions
        ("data/columns.py", ".squeeze(1)", ".squeeze( 1,)[:]", "to_values", ["train", "evaluate"]),
        # evaluate and (with the learned values) save → weights, of which train writes them only
        ("models/weights.py", "_OVERHEAD = 64 * 1024", "_OVERHEAD = 65 * 1024", "_OVERHEAD", ["evaluate", "save"]),
        ("data/lines.py", "_LANES = 8", "_LANES = 16", "_LANES", ["generate"]),
    ],
)
def test_an_edit_two_imports_away_reruns_exactly_the_stages_that_import_it(
    plan_in_tree: Callable[[], dict[str, Any]],
    own_tree: Path,
    file: str,
    old: str,
    new: str,
    reported: str,
    reruns: list[str],
) -> None:
    edit(own_tree / "tasks" / "learning" / file, old, new)
    entries = plan_in_tree()
    reason = f"tasks/learning/{file}: {reported} changed"
    assert [name for name, entry in entries.items() if reason in entry["reasons"]] == reruns
    first = reruns[0]
    assert entries[first]["status"] == "will run"
    assert all(entries[name]["status"] == "reused" for name in STAGES[: STAGES.index(first)])


def test_code_that_no_stage_imports_changes_nothing(plan_in_tree: Callable[[], dict[str, Any]], own_tree: Path) -> None:
    edit(
        own_tree / "tasks" / "learning" / "evaluation" / "comparison.py",
        "ACROSS_DEVICES_RTOL = 1e-5",
        "ACROSS_DEVICES_RTOL = 1e-4",
    )
    edit(own_tree / "flows" / "cli" / "terminal" / "console.py", "highlight=False", "highlight=True")
    assert {entry["status"] for entry in plan_in_tree().values()} == {"reused"}


#: Trains in a process that edits a file of its code when a stage begins.
EDITING = """
import functools, sys
from dataclasses import replace
from pathlib import Path
import flows.train
name, path, old, new = sys.argv[1:]
stage = getattr(flows.train, name)
@functools.wraps(stage.function)
def work(*arguments):
    file = Path(flows.train.__file__).parents[1] / path
    file.write_text(file.read_text().replace(old, new))
    return stage.function(*arguments)
setattr(flows.train, name, replace(stage, function=work))
from flows.cli import main
main(["train", "line"])
"""


@pytest.mark.parametrize("begins", ["generate", "train", "plot"])
def test_an_edit_during_a_run_is_for_the_next_run(
    workflow: Any, trained: Store, own_tree: Path, tmp_path: Path, begins: str
) -> None:
    """Whatever has begun ends with the code that it began with, and is kept as what that code made."""
    old, new, home = "L1 loss (mean absolute error)", "Mean error", tmp_path / "new"
    done = workflow(begins, "tasks/learning/losses/l1.py", old, new, home=home, tree=own_tree, code=EDITING)
    assert done.returncode == 0, done.stderr
    assert made(home) == made(trained.root)
    (reported,) = (line for line in done.stdout.splitlines() if "while this process ran" in line)
    assert "tasks/learning/losses/l1.py: LABEL changed" in reported

    def plan_now() -> dict[str, str]:
        done = workflow("plan", "line", "--json", home=home, tree=own_tree)
        return {entry["stage"]: entry["status"] for entry in json.loads(done.stdout)}

    assert [name for name, status in plan_now().items() if status != "reused"] == ["plot", "save"]
    edit(own_tree / "tasks" / "learning" / "losses" / "l1.py", new, old)
    assert set(plan_now().values()) == {"reused"}


def test_a_run_in_an_edited_tree_does_what_its_plan_said(
    workflow: Any, trained: Store, own_tree: Path, train: Callable[..., Any]
) -> None:
    edit(own_tree / "tasks" / "learning" / "losses" / "l1.py", "L1 loss (mean absolute error)", "Mean error")
    done = workflow("train", "line", home=trained.root, tree=own_tree)
    assert done.returncode == 0, done.stderr
    states = dict(line.split()[:2] for line in done.stdout.splitlines() if line.startswith("  "))
    assert [name for name, state in states.items() if state == "Completed"] == ["plot", "save"]
    assert "tasks/learning/losses/l1.py: LABEL changed" in done.stdout
    assert "Mean error" in (trained.runs / "latest" / "plots" / "loss.svg").read_text()


# ---- damage


@pytest.mark.parametrize("damage", DAMAGES)
def test_no_damaged_artifact_of_any_stage_is_reused(
    trained: Store, plan: Callable[..., Any], damage: Callable[[Path], None]
) -> None:
    for stage, kind, path in artifacts_of(trained):
        content = path.read_bytes()
        damage(path)
        decision = plan(trained)[stage]
        assert decision.status == "will run", path
        reported = (
            "record missing" if (kind, damage) == ("record", delete) else "record unreadable|artifact (missing|altered)"
        )
        assert re.match(reported, why(decision)[0]), decision.reasons
        if kind != "record":
            assert path.relative_to(trained.root).as_posix() in why(decision)[0]
        path.write_bytes(content)
    assert {decision.status for decision in plan(trained).values()} == {"reused"}


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        ("parquet", flip_the_middle),
        ("pth", flip_the_middle),
        ("json", truncate),
        ("png", delete),
        ("svg", flip_the_middle),
        ("html", delete),
        ("record", truncate),
        ("record", flip_the_middle),
    ],
)
def test_what_was_damaged_is_rebuilt_to_the_same_bytes(
    trained: Store,
    train: Callable[..., Any],
    plan: Callable[..., Any],
    kind: str,
    damage: Callable[[Path], None],
) -> None:
    before = digests_of(trained)
    stage, _, path = next(entry for entry in artifacts_of(trained) if entry[1] == kind)
    damage(path)
    outcome = train("line")
    assert outcome.ran == [stage]
    assert outcome.digests == before
    assert {decision.status for decision in plan(trained).values()} == {"reused"}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_store_with_every_artifact_damaged_is_rebuilt(
    trained: Store, train: Callable[..., Any], damage: Callable[[Path], None]
) -> None:
    before = digests_of(trained)
    for path in {path for _, kind, path in artifacts_of(trained) if kind != "record"}:
        damage(path)
    outcome = train("line")
    assert (outcome.ran, outcome.digests) == (list(STAGES), before)


def test_of_200_flipped_bits_none_is_used(trained: Store, prefect: None, plan: Callable[..., Any]) -> None:
    from tasks.caching.prefect_run import RecordSerializer

    choose = random.Random(88)
    by_kind: dict[str, list[tuple[str, Path]]] = {kind: [] for kind in KINDS}
    for stage, kind, path in artifacts_of(trained):
        by_kind[kind].append((stage, path))
    whole = {stage: record for stage, (_, record) in records_of(trained).items()}
    for flip in range(200):
        kind = KINDS[flip % len(KINDS)]
        stage, path = choose.choice(by_kind[kind])
        content = path.read_bytes()
        start = content.index(b'"result"') * 8 if kind == "record" else 0
        flip_bit(path, choose.randrange(start, len(content) * 8))
        # Either the damage is seen, or what is used is what was written: the envelope of a record says more than that.
        used: list[Record] = []
        try:
            envelope = json.loads((trained.records / stage / f"{whole[stage].key}.json").read_bytes())
            used.append(RecordSerializer().loads(envelope["result"].encode()))
        except Exception:  # noqa: S110 - for Prefect, any exception is a miss
            pass
        decision = plan(trained)[stage]
        if kind != "record":
            assert not used, path
            assert decision.status == "will run"
        assert all(record == whole[stage] for record in used)
        assert decision.status == "will run" or decision.outputs == whole[stage].outputs
        path.write_bytes(content)


def test_an_altered_artifact_with_its_old_size_and_time_is_not_reused(trained: Store, plan: Callable[..., Any]) -> None:
    assert plan(trained)["train"].status == "reused"  # its digest is remembered now
    path = next(path for stage, kind, path in artifacts_of(trained) if (stage, kind) == ("train", "pth"))
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    flip_the_middle(path)
    os.utime(path, ns=times)
    assert plan(trained)["train"].status == "will run"


def test_another_artifact_under_the_same_name_is_not_reused(trained: Store, train: Callable[..., Any]) -> None:
    other = train("line", {"training": {"epochs": 3}}, until="train")
    weights: Reference = next(r for r in other.reports if r.name == "train").outputs["weights"]
    path = next(path for stage, kind, path in artifacts_of_first(trained) if (stage, kind) == ("train", "pth"))
    shutil.copy(trained.root / weights.path, path)
    assert train("line").ran == ["train"]


def artifacts_of_first(store: Store) -> list[tuple[str, str, Path]]:
    """The artifacts of a store's first run, as its manifest names them."""
    manifest = json.loads((store.runs / "latest" / "run.json").read_bytes())
    return [
        (stage["name"], entry["kind"], store.root / entry["path"])
        for stage in manifest["stages"]
        for entry in stage["outputs"].values()
    ]


def test_without_its_records_a_project_loses_nothing_but_time(trained: Store, train: Callable[..., Any]) -> None:
    before = digests_of(trained)
    shutil.rmtree(trained.records)
    outcome = train("line")
    assert (outcome.ran, outcome.digests) == (list(STAGES), before)


def test_without_its_artifacts_a_project_loses_nothing_but_time(trained: Store, train: Callable[..., Any]) -> None:
    before = digests_of(trained)
    shutil.rmtree(trained.root / "data")
    for stage in STAGES[:-1]:
        shutil.rmtree(trained.artifacts / stage, ignore_errors=True)
    outcome = train("line")
    assert (outcome.ran, outcome.digests) == (list(STAGES[:-1]), before)


# ---- processes


def states_in(output: str) -> list[tuple[str, str]]:
    """The stages and their states, from what a run printed."""
    lines = [line for line in output.splitlines() if line.startswith("  ")]
    return [(words[0], words[1]) for words in map(str.split, lines)]


def test_a_run_that_is_killed_inside_any_stage_resumes_where_it_was(
    store: Store, start_process: Any, train: Callable[..., Any], first_home: Path
) -> None:
    for done, stage in enumerate(STAGES):
        process = start_process("-c", DRIVER, stage, "train", "line", home=store.root, PYTHONUNBUFFERED="1")
        output, error = process.communicate(timeout=120)
        assert process.returncode == -9, error
        # The stage before was finished by this process, those before it by others that were killed as well.
        states = [(name, "Completed" if at == done - 1 else "Cached") for at, name in enumerate(STAGES[:done])]
        assert states_in(output) == states
    outcome = train("line")
    assert outcome.ran == ["save"]
    assert outcome.digests == digests_of(Store(first_home))


def test_two_processes_with_empty_projects_make_the_same_bytes(first_home: Path, workflow: Any, tmp_path: Path) -> None:
    done: subprocess.CompletedProcess[str] = workflow(
        "train", "line", home=tmp_path / "another place", cwd=tmp_path, PYTHONHASHSEED="1", TZ="Asia/Tokyo", LC_ALL="C"
    )
    assert done.returncode == 0, done.stderr

    def contents(home: Path) -> dict[str, bytes]:
        stores = [home / "data", *(home / "artifacts" / stage for stage in ("train", "evaluate", "plot"))]
        files = [path for folder in stores for path in folder.rglob("*") if path.is_file()]
        run = (home / "artifacts" / "runs" / "latest").resolve()
        in_run = {path.relative_to(run).as_posix(): path.read_bytes() for path in run.rglob("*") if path.is_file()}
        for name in ("run.json", "report.html", "verification.json", "SHA256SUMS"):
            in_run.pop(name, None)
        return in_run | {path.relative_to(home).as_posix(): path.read_bytes() for path in files}

    one, other = contents(first_home), contents(tmp_path / "another place")
    # Made by verify, and the note of where the store lies.
    one = {name: content for name, content in one.items() if not name.startswith(("data/predict/", "data/.store"))}
    other.pop("data/.store")
    assert "01_workflow_model_0.pth" in one
    assert one.keys() == other.keys()
    assert [name for name in one if one[name] != other[name]] == []
