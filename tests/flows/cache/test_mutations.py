"""Seeded edits of single tokens over tasks/: none leaves a stage cached that makes other bytes."""

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.flows.test_train import ELABORATE
from tests.support.stages import STAGES
from tests.support.token_edits import SWAPS, Edit, EditRunner, chosen, replacement, stale, token_edits

PROJECT = Path(__file__).parents[3]

#: Another seed gives other edits: MUTATIONS_SEED=7 make test-long.
SEED = int(os.environ.get("MUTATIONS_SEED", "1"))

#: What `tasks.caching` does stands in the keys as one number, which tests/caching/test_format.py watches over.
FILES = [path for path in sorted((PROJECT / "tasks").rglob("*.py")) if "caching" not in path.parts]

#: A table with gaps in no column, whose model could fill them in, and layers.
TABLE: dict[str, Any] = {
    "data": {"kind": "table", "path": str(PROJECT / "docs/houses.csv"), "target": "price", "exclude": ["town"]},
    "split": {"method": "stratified", "column": "town", "validation": 0.1},
    "model": {"kind": "mlp", "hidden": [4], "normalization": "layer", "scale_features": "standard", "impute": ["*"]},
}

SHORT = {"epochs": 12, "evaluate_every": 4, "threads": 1, "device": "cpu"}
EXPERIMENTS: list[dict[str, Any]] = [
    {"training": SHORT},
    {name: values for name, values in ELABORATE.items() if name not in ("name", "training")}
    | {"training": ELABORATE["training"] | SHORT | {"evaluate_every": 1}},  # type: ignore[operator]
    TABLE | {"training": SHORT | {"loss": "mse", "optimizer": "adam"}},
]


class Field:
    """A copy of the project that is edited, and what the stages make of each experiment before."""

    def __init__(self, folder: Path) -> None:
        self.tree, self._home, self._laboratory = folder / "tree", folder / "home", EditRunner(PROJECT)
        for name in ("flows", "tasks"):
            shutil.copytree(PROJECT / name, self.tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(PROJECT / "pyproject.toml", self.tree)
        self.before = [self.outcome(number) or {} for number in range(len(EXPERIMENTS))]
        assert all(len(found) == len(STAGES) for found in self.before)

    def outcome(self, experiment: int) -> dict[str, Any] | None:
        """What the stages make now."""
        return self._laboratory.outcome(self.tree, self._home, "line", EXPERIMENTS[experiment])

    def after(self, edit: Edit, experiment: int) -> dict[str, Any] | None:
        """What they make after an edit, which is taken back."""
        path = self.tree / edit.file
        text = path.read_text("utf-8")
        edit.apply(self.tree)
        try:
            return self.outcome(experiment)
        finally:
            path.write_text(text, "utf-8")

    def close(self) -> None:
        """Ends the process that the stages run in."""
        self._laboratory.close()


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    field = Field(tmp_path_factory.mktemp("field"))
    yield field
    field.close()


def kind(before: dict[str, Any], after: dict[str, Any] | None) -> str:
    """What came of an edit, in words."""
    if after is None:
        return "ends with an error"
    if all(after[stage][1] == before[stage][1] for stage in before):
        return "same bytes, rerun" if any(after[s][0] != before[s][0] for s in before) else "same bytes, reused"
    return "other bytes"


@pytest.mark.long
def test_no_edit_of_300_leaves_a_stage_cached_that_makes_other_bytes(field: Field) -> None:
    edits = chosen(token_edits(PROJECT, FILES), 300, SEED)
    kinds: Counter[str] = Counter()
    for number, edit in enumerate(edits):
        before = field.before[number % len(EXPERIMENTS)]
        after = field.after(edit, number % len(EXPERIMENTS))
        kinds[kind(before, after)] += 1
        assert not list(stale(before, after or {})), f"{edit}: {list(stale(before, after or {}))} stale"
    print(dict(kinds))
    assert kinds["other bytes"] >= 30, "the edits do change something"
    assert kinds["same bytes, reused"] >= 30, "what cannot matter is no code"


def test_a_stage_that_makes_other_bytes_under_its_key_is_found(field: Field) -> None:
    """As if the key had not noticed the edit."""
    label = '"L1 loss (mean absolute error)"'
    labels = token_edits(PROJECT, [PROJECT / "tasks/learning/losses/l1.py"])
    (edit,) = (edit for edit in labels if edit.old == label)
    before, after = field.before[0], field.after(edit, 0)
    assert after is not None
    assert [stage for stage in after if after[stage][0] != before[stage][0]] == ["plot", "save"]
    assert list(stale(before, after)) == []
    unnoticed = {stage: [before[stage][0], *rest] for stage, (_, *rest) in after.items()}
    assert list(stale(before, unnoticed)) == ["plot", "save"]


def test_every_token_has_one_other() -> None:
    assert all(replacement(token, 1) != token for token in SWAPS)
    assert len(token_edits(PROJECT, FILES)) > 2000
