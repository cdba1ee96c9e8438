"""The names of flow runs say what changed, as briefly as a list can show it."""

import pytest

from tasks.caching.decision import Decision, Status

pytestmark = pytest.mark.usefixtures("prefect")


def decision(stage: str, status: Status, *reasons: str) -> Decision:
    return Decision(stage, status, reasons)


REUSED = decision("generate", "reused", "unchanged")
CHANGED = decision("train", "will run", "training.epochs 180 → 60")
FORCED = decision("evaluate", "will run", "forced")


@pytest.mark.parametrize(
    ("plan", "name"),
    [
        ([REUSED], "nothing changed"),
        ([decision("generate", "will run", "first run of line"), CHANGED], "first run"),
        ([REUSED, CHANGED, decision("plot", "depends", "train")], "training.epochs 180 → 60"),
        ([decision("train", "will run", "a 1 → 2", "b 1 → 2", "c 1 → 2")], "a 1 → 2 and 2 more"),
        ([REUSED, FORCED], "evaluate forced"),
        ([REUSED, FORCED, decision("plot", "will run", "forced")], "evaluate, plot forced"),
        ([REUSED, CHANGED, FORCED], "training.epochs 180 → 60; evaluate forced"),
        ([decision("train", "not reached", "until split")], "nothing changed"),
    ],
)
def test_what_is_new(plan: list[Decision], name: str) -> None:
    from flows.naming import what_is_new

    assert what_is_new(plan) == name


def test_a_long_name_is_cut() -> None:
    from flows.naming import LONGEST, shortened

    assert shortened("a" * LONGEST) == "a" * LONGEST
    assert shortened("a" * (LONGEST + 1)) == "a" * (LONGEST - 1) + "…"
