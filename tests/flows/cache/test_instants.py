"""Edits at seeded instants of a run: whatever it was doing then, each record holds what the code of its key makes.

In an empty store code is edited, or edited and restored, after a while that the seed draws: as the process starts, as
a stage runs, while the run waits for another one, between a training that was ended and the one that resumes it, or as
an ephemeral server starts. Then every record is compared with what either code makes in an empty store.
"""

import random
import shutil
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tasks.caching.gc.inspection import inspect_store
from tasks.caching.records import read_record
from tasks.caching.storage.store import Store
from tests.flows.cache.test_edits import MATERIAL, PROJECT, SETTINGS, STAGES, Edit, copy_project, words_of
from tests.support.serving_project import ServingProject, Start
from tests.support.token_edits import DATED, EditRunner

#: Seconds after the start of a run, at the most, until something is edited: later than a run lasts.
LATEST = {"alone": 6.0, "there and back": 6.0, "together": 6.0, "resumed": 4.0, "ephemeral": 12.0}

#: A training that takes some seconds, and keeps a training checkpoint at every epoch.
LONG = {"training": SETTINGS["training"] | {"epochs": 30_000, "evaluate_every": 1000, "checkpoint_every": "500 epochs"}}


@pytest.fixture(scope="module")
def laboratory() -> Iterator[EditRunner]:
    laboratory = EditRunner(PROJECT)
    yield laboratory
    laboratory.close()


def require_true(home: Path, truth: dict[str, Any]) -> int:
    """Every record under a key of some code holds what that makes; how many there are."""
    count = 0
    for stage, (key, made, _) in truth.items():
        record = Store(home).records / stage / f"{key}.json"
        if record.exists():
            outputs = read_record(record).outputs
            wrong = {name for name, digest in made.items() if name not in DATED and outputs[name].digest != digest}
            assert not wrong, f"{stage} is stale: {wrong}"
            count += 1
    return count


def run_through(kind: str, edit: Edit, draw: random.Random, tree: Path, home: Path, start: Start) -> None:
    """Runs, and edits in the midst of it."""
    words = ["-m", "flows.cli", "train", *words_of(LONG if kind == "resumed" else SETTINGS)]
    untouched = copy_project(tree.parent / "untouched")
    processes = [start(*words, *(["--ephemeral"] if kind == "ephemeral" else []), home=home, tree=tree)]
    if kind == "together":
        processes.append(start(*words, home=home, tree=untouched))
    instants = sorted(draw.uniform(0, LATEST[kind]) for _ in range(2))
    time.sleep(instants[0])
    if kind == "resumed":
        processes[0].send_signal(signal.SIGTERM)
        processes[0].communicate(timeout=120)
    edit.apply(tree)
    if kind == "resumed":
        processes.append(start(*words, home=home, tree=tree))
        processes[-1].communicate(timeout=120)
        processes.append(start(*words, home=home, tree=untouched))
    if kind == "there and back":
        time.sleep(instants[1] - instants[0])
        shutil.copy(untouched / edit.file, tree / edit.file)
    for process in processes:
        process.communicate(timeout=120)
        assert kind == "resumed" or process.returncode == 0


@pytest.mark.long
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", LATEST)
def test_the_cache_is_true_whenever_code_is_edited(
    start_process: Start, laboratory: EditRunner, tmp_path: Path, kind: str, seed: int
) -> None:
    draw = random.Random(f"{kind} {seed}")
    edit = draw.choice([edit for edit in MATERIAL if edit.recoded])
    tree, home = copy_project(tmp_path / "tree"), tmp_path / "home"
    run_through(kind, edit, draw, tree, home, start_process)
    settings, counts = LONG if kind == "resumed" else SETTINGS, []
    for number, edited in enumerate((False, True)):
        code = copy_project(tmp_path / f"code-{number}")
        if edited:
            edit.apply(code)
        truth = laboratory.outcome(code, tmp_path / "truth", "line", settings)
        assert truth is not None
        counts.append(require_true(home, truth))
    assert max(counts) == len(STAGES), f"a run ended with other keys than either code has: {counts}"
    assert inspect_store(Store(home)).problems == []


@pytest.mark.long
def test_an_edit_between_two_requests_to_serve_is_for_the_second(
    project: ServingProject, start_process: Start, own_tree: Path
) -> None:
    served = ServingProject(project.home, partial(start_process, tree=own_tree), project.api)
    served.begin("--limit", "1")
    served.until(served.ask(), "Completed")
    loss = own_tree / "tasks" / "learning" / "losses" / "l1.py"
    before = loss.read_text()
    loss.write_text(before.replace("L1 loss (mean absolute error)", "Mean error"))
    assert loss.read_text() != before
    first = served.until(served.ask(), "Completed")
    edited = {name: "Completed" if name in ("plot", "save") else "Cached" for name in STAGES}
    assert served.states(first.id) == edited
    second = served.until(served.ask(), "Completed")
    assert served.states(second.id) == dict.fromkeys(STAGES, "Cached")
    assert served.end()[0] == 0
