from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.caching.ingredients import Ingredient
from tasks.caching.reasons import ABSENT, MOST_REASONS, TEXTS, Reason, ReasonKind
from tasks.caching.reasons import differences as typed_differences


def differences(before: dict[str, Any], now: dict[str, Any]) -> tuple[str, ...]:
    """What changed, in words."""
    return tuple(map(str, typed_differences(before, now)))


ingredients = st.dictionaries(st.sampled_from([f"{kind} {n}" for kind in "abc" for n in "123"]), st.integers(0, 2))


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        ({"training.rate": 0.03}, {"training.rate": 0.01}, "training.rate 0.03 → 0.01"),
        ({"split.seed": None}, {"split.seed": 0}, "split.seed none → 0"),
        ({}, {"data.noise": None}, "data.noise absent → none"),
        ({"data.noise": 0.5}, {}, "data.noise 0.5 → absent"),
        ({"model.layers": [3, 4]}, {"model.layers": [3]}, "model.layers [3, 4] → [3]"),
        ({"library torch": "2.12.0"}, {"library torch": "2.13.0"}, "torch 2.12.0 → 2.13.0"),
        ({"library torch": "absent"}, {"library torch": "2.13.0"}, "torch absent → 2.13.0"),
        ({"code tasks/fit.py: fit": "0"}, {"code tasks/fit.py: fit": "1"}, "tasks/fit.py: fit changed"),
        ({}, {"code tasks/fit.py: fit": "1"}, "tasks/fit.py: fit added"),
        ({"code tasks/fit.py: fit": "0"}, {}, "tasks/fit.py: fit removed"),
        ({"input weights": "0"}, {"input weights": "1"}, "input weights changed"),
        ({}, {"input validation": "1"}, "input validation added"),
        ({"input validation": "1"}, {}, "input validation removed"),
        ({"schema": 1}, {"schema": 2}, "schema 1 → 2"),
        ({"data.end": 0.0}, {"data.end": -0.0}, "data.end 0.0 → -0.0"),
        ({"data.end": 1}, {"data.end": 1.0}, "data.end 1 → 1.0"),
        ({"data.rows": 1}, {"data.rows": True}, "data.rows 1 → True"),
        ({"cache": 1, "code a.py: f": "0"}, {"cache": 2, "x": 1}, "the cache's format changed"),
        ({"code a.py: f": "0"}, {"cache": 1, "code b.py: f": "0"}, "the cache's format changed"),
        ({"library python": "3.11", "code a.py: f": "0"}, {"library python": "3.12"}, "python 3.11 → 3.12"),
    ],
)
def test_each_kind_of_change_has_its_words(before: dict[str, Any], now: dict[str, Any], words: str) -> None:
    assert differences(before, now) == (words,)


def test_settings_come_first_then_libraries_then_code_each_by_name_then_inputs_as_they_are_declared() -> None:
    now = {"input b": 1, "input a": 1, "code a.py: f": 1, "library b": 1, "library a": 1, "z.y": 1, "a.b": 1}
    assert list(map(subject_of, differences(dict.fromkeys(now, 0), now))) == ["a.b", "z.y", "a", "b", "a.py:", "and"]
    inputs = {name: value for name, value in now.items() if name.startswith("input ")}
    reported = differences(dict.fromkeys([*inputs, "input 0"], 0), inputs)
    assert reported == ("input b changed", "input a changed", "input 0 removed")


def test_the_order_of_statements_comes_after_what_changed_itself() -> None:
    now = {"code a.py: order of statements": 1, "code b.py: f": 1}
    reported = differences(dict.fromkeys(now, 0), now)
    assert reported == ("b.py: f changed", "a.py: order of statements changed")


def subject_of(reported: str) -> str:
    """The first word of a reason."""
    return reported.partition(" ")[0]


@given(ingredients)
def test_nothing_changed_has_no_words(same: dict[str, int]) -> None:
    assert differences(same, dict(reversed(same.items()))) == ()


@given(ingredients, ingredients)
def test_a_change_is_reported_exactly_if_there_is_one(before: dict[str, int], now: dict[str, int]) -> None:
    assert bool(differences(before, now)) == (before != now)


@pytest.mark.parametrize(
    ("changes", "last"),
    [(MOST_REASONS, "x5 0 → 1"), (MOST_REASONS + 1, "and 2 more changes"), (MOST_REASONS + 9, "and 10 more changes")],
)
def test_many_changes_are_counted_rather_than_reported(changes: int, last: str) -> None:
    names = [f"x{number}" for number in range(changes)]
    reported = differences(dict.fromkeys(names, 0), dict.fromkeys(names, 1))
    assert len(reported) == MOST_REASONS
    assert reported[-1] == last


@pytest.mark.parametrize(
    ("before", "now", "reason"),
    [
        ({"a.b": None}, {"a.b": 0}, Reason(ReasonKind.SETTING, "a.b", None, 0)),
        ({"library torch": "1"}, {"library torch": "2"}, Reason(ReasonKind.LIBRARY, "torch", "1", "2")),
        ({}, {"code a.py: f": "1"}, Reason(ReasonKind.CODE, "a.py: f", ABSENT, "1")),
        ({"input table": "1"}, {}, Reason(ReasonKind.INPUT, "table", "1", ABSENT)),
        ({"cache": 1}, {"cache": 2}, Reason(ReasonKind.FORMAT_CHANGED)),
    ],
)
def test_a_reason_keeps_what_it_is_about_and_both_values(
    before: dict[str, Any], now: dict[str, Any], reason: Reason
) -> None:
    assert typed_differences(before, now) == (reason,)


def test_each_kind_of_reason_has_a_text() -> None:
    assert TEXTS.keys() == set(ReasonKind)


def test_what_a_reason_is_about_is_shown_as_it_is() -> None:
    assert str(Reason(ReasonKind.DAMAGED, "a {before} in a message")) == "a {before} in a message"


@given(st.text())
def test_the_text_of_an_ingredient_is_read_back(text: str) -> None:
    assert str(Ingredient.parse(text)) == text
