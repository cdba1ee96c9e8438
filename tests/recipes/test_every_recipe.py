"""Every recipe, followed to the letter in one copy of the project; the long tests follow each by itself."""

import re
from pathlib import Path

from tests.support.recipes import PROJECT, copy_of_project, require_cached_and_proven

#: The sections of CONTRIBUTING.md with a recipe, and the options that use what it adds.
RECIPES: dict[str, tuple[str, ...]] = {
    "Adding a stage": (),
    "Adding a model": ("--model.kind", "parabola"),
    "Adding a loss": ("--training.loss", "log_cosh"),
    "Adding an optimizer": ("--training.optimizer", "rmsprop"),
    "Adding a data source": ("--data.kind", "wave"),
}


def test_what_they_add_is_trained_reused_refreshed_and_verified(tmp_path: Path) -> None:
    copy = copy_of_project(tmp_path)
    for recipe in RECIPES:
        copy.follow(recipe)
    words = ("line", "--training.epochs", "20", *(word for words in RECIPES.values() for word in words))
    require_cached_and_proven(copy, "rank", *words)
    settings = copy.saved("run.json")["experiment"]
    assert settings["data"] == {"kind": "wave", "rows": 100, "amplitude": 1.0}
    assert (settings["training"]["loss"], settings["training"]["optimizer"]) == ("log_cosh", "rmsprop")
    assert list(copy.saved("model.json")["tensors"]) == ["a", "b", "c"]
    assert sorted(copy.saved("ranking.json")["rows"]) == list(range(100))


def test_none_is_missing() -> None:
    document = (PROJECT / "CONTRIBUTING.md").read_text("utf-8")
    with_blocks = re.findall(r"^## (Adding .+)\n(?:(?!^## ).*\n)*?```", document, re.MULTILINE)
    assert with_blocks == list(RECIPES)
