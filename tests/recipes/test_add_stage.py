"""The recipe for a stage, followed to the letter: one that lists the rows that are predicted worst first."""

import json
import re
from pathlib import Path

import pytest

from tests.support.recipes import copy_of_project, require_cached_and_proven

#: Few epochs, since it is not the model that is tried.
WORDS = ("line", "--training.epochs", "3")


def states(printed: str) -> dict[str, str]:
    """The state of each stage, as training prints it."""
    return dict(re.findall(r"^  (\w+) +(Completed|Cached)\b", printed, re.MULTILINE))


@pytest.mark.long
def test_a_stage_that_is_added_is_a_stage_like_any_other(tmp_path: Path) -> None:
    copy = copy_of_project(tmp_path)
    copy.follow("Adding a stage")
    require_cached_and_proven(copy, "rank", *WORDS)
    assert sorted(copy.saved("ranking.json")["rows"]) == list(range(50))
    stages = [entry["stage"] for entry in json.loads(copy.workflow("plan", *WORDS, "--json"))]
    assert stages[-2:] == ["rank", "save"]
    cut = copy.workflow("train", *WORDS, "--until", "rank", "--ephemeral")
    assert states(cut) == dict.fromkeys(stages[:-1], "Cached")
