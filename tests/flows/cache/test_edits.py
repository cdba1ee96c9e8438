"""The matrix of edits: each is made in a copy of the project, planned and run there, and compared with an empty store.

Stale would be a stage that is reused although the edited code makes other bytes; needless, one that runs again although
nothing that it reaches was edited. Minutes in all, so that `make test-long` runs it.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tasks.caching.records import read_record
from tasks.caching.storage.store import Store
from tests.support.serving_project import Finish
from tests.support.stages import STAGES
from tests.support.token_edits import DATED, EditRunner, recoded, stale

PROJECT = Path(__file__).parents[3]

#: A training that is short, and the same on every machine.
SETTINGS = {"training": {"epochs": 12, "evaluate_every": 4, "threads": 1, "device": "cpu"}}


@dataclass(frozen=True)
class Edit:
    """An edit of one file.

    Attributes:
        file: in tasks/, or in the project where it begins with a folder's name.
        old: what is replaced, once in the file; empty for what is put at its end.
        new: what takes its place.
        recoded: the stages that reach it.
    """

    file: str
    old: str
    new: str
    recoded: tuple[str, ...] = ()

    def apply(self, tree: Path) -> None:
        """Makes the edit in a copy of the project."""
        path = tree / self.file
        text = path.read_text("utf-8")
        if self.old:
            assert text.count(self.old) == 1, f"{self.old!r} is {text.count(self.old)} times in {self.file}"
            path.write_text(text.replace(self.old, self.new), "utf-8")
        else:
            path.write_text(text + self.new, "utf-8")

    def __str__(self) -> str:
        return re.sub(r"\s+", " ", f"{self.file}: {self.old[:30]} → {self.new[:30]}")


def words_of(settings: dict[str, dict[str, Any]]) -> list[str]:
    """The command line for `line` with some settings."""
    options = ((section, name, value) for section, values in settings.items() for name, value in values.items())
    return ["line", *(f"--{section}.{name.replace('_', '-')}={value}" for section, name, value in options)]


WORDS = words_of(SETTINGS)


def learning(file: str, old: str, new: str, *stages: str) -> Edit:
    (path,) = (PROJECT / "tasks/learning").rglob(f"{file}.py")
    return Edit(str(path.relative_to(PROJECT)), old, new, stages)


TABLES = ("generate", "split", "train", "evaluate")

#: Edits of what stages reach.
MATERIAL = [
    Edit("tasks/generate.py", "make_table(config.data)", "make_table(config.data).slice(0)", ("generate",)),
    Edit("tasks/evaluate.py", "json.dumps(metrics, indent=2)", "json.dumps(metrics)", ("evaluate",)),
    Edit("tasks/evaluate.py", "torch.set_num_threads(scoring.threads)", "torch.set_num_threads(1)", ("evaluate",)),
    Edit("tasks/plot.py", '"residuals": draw_residuals', '"residuals" "": draw_residuals'),
    Edit("tasks/plot.py", 'tables["untrained"], False', 'tables["untrained"], True', ("plot",)),
    Edit("tasks/save.py", "indent=2).encode(), REPORT", "indent=3).encode(), REPORT", ("save",)),
    Edit("tasks/save.py", "json.dumps(description, indent=2)", "json.dumps(description)", ("save",)),
    learning("data/lines", "_LANES = 8", "_LANES = 4", "generate"),
    learning("data/lines", "return np.float32(0)", "return np.float32(1)", "generate"),
    learning("splitting/parts", "start += size", "start += size + 0", "split"),
    learning("splitting/parts", "table.slice(start, size)", "table.slice(start, size).slice(0)", "split"),
    learning("l1", ".abs().mean()", ".abs().sum() / len(target)", "train"),
    learning("mse", "functional.mse_loss(", "functional.l1_loss(", "train"),
    learning("sgd", "momentum=settings.momentum", "momentum=0.5", "train"),
    learning("adamw", "unwrapped(optim.AdamW)", "unwrapped(optim.Adam)", "train"),
    learning("loop", "return position.loss_sum / position.rows", "return position.loss_sum", "train"),
    learning("loop", "PROGRESS_INTERVAL = 0.5", "PROGRESS_INTERVAL = 0.25", "train"),
    learning("loop", "training.epochs - 1:", "training.epochs - 2:", "train"),
    learning("batches", "drawn = self._order[rows]", "drawn = self._order[rows].flip(0)", "train"),
    learning("models/lines", "* x + getattr(self", "* x - getattr(self", "train", "evaluate"),
    learning("models/lines", "in (weight_name, bias_name):", "in (bias_name, weight_name):", "train", "evaluate"),
    learning("models/lines", "in_features, 1, device=device", "in_features, 1, True, device", "train", "evaluate"),
    learning("data/columns", ".squeeze(1)", ".squeeze(1).clone()", "train", "evaluate"),
    learning("predictions", "CHUNK = 1 << 20", "CHUNK = 7", "train", "evaluate"),
    learning("metrics", "np.mean(np.abs(residual))", "np.median(np.abs(residual))", "evaluate"),
    learning("metrics", "return 1 - mse / float(np.var(target))", "return mse / float(np.var(target))", "evaluate"),
    learning("huber", "error - 0.5", "error - 0.25", "evaluate"),
    learning("tables", "compression_level=1", "compression_level=2", *TABLES),
    learning("tables", "ROW_GROUP = 1 << 20", "ROW_GROUP = 1 << 10", *TABLES),
    learning("bounds", "MOST_ROWS = ", "MOST_ROWS = 1 + ", "split", "train", "evaluate", "plot", "save"),
    learning("l1", "L1 loss (mean absolute error)", "Mean error", "plot"),
    learning("huber", '"Huber, delta 1"', '"Huber"', "save"),
    learning("figures", "figsize=(7.2, 4.4), dpi=120", "figsize=(7.2, 4.4), dpi=60", "plot"),
    learning("figures", "linewidth=1.8", "linewidth=2.5", "plot"),
    learning("figures", "_MOST_MARKERS = 25", "_MOST_MARKERS = 3", "plot"),
    learning("ticks", '"symlog"', '"symlog" ""'),
    learning("learned", "MOST_LISTED = 20", "MOST_LISTED = 1", "save"),
    learning("predicted", "LEFT, TOP, RIGHT, BOTTOM = 80, 40", "LEFT, TOP, RIGHT, BOTTOM = 90, 40", "save"),
    learning("report", "DIGITS = 4", "DIGITS = 3", "save"),
    learning("report", '"Predicted against actual"', '"Predicted and actual"', "save"),
    learning("report_page", "· training report", "· report", "save"),
]  # fmt: skip

#: A setting that is added before another, at the value that means what was done before.
SPLIT_SEED = "seed: Annotated[Seed, MattersIf(lambda split"
NEW_SETTING = "Annotated[int, MattersIf(lambda split: split.fold > 0)] = 0"

#: Edits of what no stage reaches, or of what is no code.
IMMATERIAL = [
    learning("config/data", 'description="Slope of the line."', 'description="Steepness of the line."'),
    learning("config/data", 'description="Seed of the noise."', 'description="The noise\'s seed."'),
    learning("config/data", "0.02, gt=0, description", "0.02, gt=0.001, description"),
    learning("bounds", "LARGEST_INTEGER = 2**53 - 1", "LARGEST_INTEGER = 2**52 - 1"),
    learning("split", SPLIT_SEED, f"fold: {NEW_SETTING}\n    {SPLIT_SEED}"),
    learning("comparison", "ACROSS_DEVICES_RTOL = 1e-5", "ACROSS_DEVICES_RTOL = 1e-4"),
    learning("drift", "", "\n\nUNUSED = 1\n"),
    learning("acceptance", "", "\n\ndef unused() -> None:\n    pass\n"),
    Edit("tasks/limits.py", "MOST_THREADS = 1024", "MOST_THREADS = 2048"),
    Edit("tasks/limits.py", "{0,63}", "{0,62}"),
    Edit("tasks/compare.py", "", "\n\nUNUSED = 1\n"),
    Edit("tasks/caching/storage/store.py", "artifact replaced by a link or a folder", "artifact is a link or a folder"),
    Edit("tasks/caching/locking/lock.py", "", "\n\nUNUSED = 1\n"),
    Edit("tasks/caching/storage/errors.py", "ROOM = 16 * 1024 * 1024", "ROOM = 15 * 1024 * 1024"),
    Edit("flows/cli/terminal/console.py", "highlight=False", "highlight=True"),
    Edit("flows/runs/wording.py", "", "\n\nUNUSED = 1\n"),
    Edit("flows/presets/line-cuda.toml", "", "\n# a comment\n"),
]  # fmt: skip


@pytest.mark.parametrize("edit", [*MATERIAL, *IMMATERIAL], ids=str)
def test_the_text_that_an_edit_replaces_is_there(edit: Edit) -> None:
    """Of all edits, also those that `make test-long` alone makes: the code moves on under them."""
    assert not edit.old or (PROJECT / edit.file).read_text("utf-8").count(edit.old) == 1


@pytest.fixture(scope="module")
def laboratory() -> Iterator[EditRunner]:
    laboratory = EditRunner(PROJECT)
    yield laboratory
    laboratory.close()


def copy_project(tree: Path) -> Path:
    """A copy of the code, without bytecode."""
    for name in ("flows", "tasks"):
        shutil.copytree(PROJECT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", tree)
    return tree


@pytest.fixture(scope="module")
def unedited(laboratory: EditRunner, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the stages make as they are."""
    folder = tmp_path_factory.mktemp("unedited")
    found = laboratory.outcome(copy_project(folder / "tree"), folder / "home", "line", SETTINGS)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def stock(api_url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the stores and the code are that others are copied from."""
    return tmp_path_factory.mktemp("stock")


@pytest.fixture
def trained_short(workflow: Finish, stock: Path, tmp_path: Path) -> Path:
    """A store in which the unedited project has trained."""
    if not (stock / "data").exists():
        done = workflow("train", *WORDS, home=stock)
        assert done.returncode == 0, done.stderr
    shutil.copytree(stock, tmp_path / "home", symlinks=True)
    return tmp_path / "home"


def require_truth(home: Path, truth: dict[str, Any]) -> None:
    """Each stage has a record with what the code makes in an empty store."""
    for stage, (key, made, _) in truth.items():
        outputs = read_record(Store(home).records / stage / f"{key}.json").outputs
        wrong = {name for name, digest in made.items() if name not in DATED and outputs[name].digest != digest}
        assert not wrong, f"{stage} is stale: {wrong}"


def states(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """What a training says of each stage."""
    lines = (line.split() for line in done.stdout.splitlines() if line.startswith("  "))
    return {words[0]: words[1] for words in lines if words[0] in STAGES}


def try_edits(
    tree: Path, home: Path, workflow: Finish, laboratory: EditRunner, unedited: dict[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Plans and runs edited code on a store of the unedited; what it makes in an empty one, and the stages that ran."""
    truth = laboratory.outcome(tree, home.parent / "truth", "line", SETTINGS)
    assert truth is not None
    assert list(stale(unedited, truth)) == []
    planned = workflow("plan", *WORDS, "--json", home=home, tree=tree)
    assert planned.returncode == 0, planned.stderr
    reused = {entry["stage"] for entry in json.loads(planned.stdout) if entry["status"] == "reused"}
    done = workflow("train", *WORDS, home=home, tree=tree)
    assert done.returncode == 0, done.stderr
    ran = [stage for stage, state in states(done).items() if state == "Completed"]
    assert not reused & set(ran)
    assert ran == [stage for stage in STAGES if truth[stage][0] != unedited[stage][0]]
    require_truth(home, truth)
    return truth, ran


@pytest.mark.long
@pytest.mark.parametrize("edit", MATERIAL, ids=str)
def test_what_an_edit_reaches_runs_again_and_nothing_else(
    workflow: Finish, laboratory: EditRunner, unedited: dict[str, Any], trained_short: Path, tmp_path: Path, edit: Edit
) -> None:
    edit.apply(copy_project(tmp_path / "tree"))
    truth, ran = try_edits(tmp_path / "tree", trained_short, workflow, laboratory, unedited)
    assert tuple(recoded(unedited, truth)) == edit.recoded
    assert set(edit.recoded) <= set(ran)


@pytest.mark.long
@pytest.mark.parametrize("edit", IMMATERIAL, ids=str)
def test_what_no_stage_reaches_reruns_nothing(
    workflow: Finish, laboratory: EditRunner, unedited: dict[str, Any], trained_short: Path, tmp_path: Path, edit: Edit
) -> None:
    edit.apply(copy_project(tmp_path / "tree"))
    assert try_edits(tmp_path / "tree", trained_short, workflow, laboratory, unedited)[1] == []


#: Every file that stages can reach; the cache itself is tried above.
FILES = sorted(
    path.relative_to(PROJECT).as_posix() for path in (PROJECT / "tasks").rglob("*.py") if "caching" not in path.parts
)


def reword(text: str) -> str:
    """A file with another description, a comment and a function that nobody calls."""
    described = text.replace('"""', '"""In other words: ', 1)
    return f"# A comment.\n{described}\n\ndef unused() -> int:\n    return 1\n"


@pytest.mark.long
@pytest.mark.parametrize("file", FILES)
def test_prose_and_uncalled_functions_rerun_nothing(
    workflow: Finish, laboratory: EditRunner, unedited: dict[str, Any], trained_short: Path, tmp_path: Path, file: str
) -> None:
    path = copy_project(tmp_path / "tree") / file
    path.write_text(reword(path.read_text("utf-8")), "utf-8")
    assert try_edits(tmp_path / "tree", trained_short, workflow, laboratory, unedited)[1] == []


@pytest.mark.long
@pytest.mark.parametrize(
    "words",
    [
        ("format", "--line-length", "79"),
        ("format", "--line-length", "200", "--config", "format.skip-magic-trailing-comma=true"),
        ("format", "--config", "format.quote-style='single'"),
        ("check", "--fix", "--select", "I,UP,PIE790,F401", "--config", "lint.isort.force-single-line=true"),
        ("check", "--fix", "--select", "I", "--config", "lint.isort.force-sort-within-sections=true"),
    ],
    ids=" ".join,
)
def test_a_formatter_reruns_nothing(
    workflow: Finish,
    laboratory: EditRunner,
    unedited: dict[str, Any],
    trained_short: Path,
    tmp_path: Path,
    words: tuple[str, ...],
) -> None:
    tree = copy_project(tmp_path / "tree")
    before = {path: path.read_bytes() for path in tree.rglob("*.py")}
    ruff = [sys.executable, "-m", "ruff", *words, "--no-cache", "--quiet", "tasks"]
    subprocess.run(ruff, cwd=tree, check=words[0] == "format")  # a check ends with 1 where it could not mend all
    assert any(path.read_bytes() != text for path, text in before.items()), "it has edited something"
    assert try_edits(tree, trained_short, workflow, laboratory, unedited)[1] == []


def test_there_are_enough() -> None:
    assert len(MATERIAL) + len(IMMATERIAL) + len(FILES) >= 80
