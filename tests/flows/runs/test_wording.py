import pytest

from flows.runs.wording import counted, figure, setting


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        ("x", "x"),
        (True, "true"),
        (1234567, "1,234,567"),
        (0.0148298807, "0.0148299"),
        (1e-30, "1e-30"),
    ],
)
def test_figures_are_short_and_exact_where_they_are_whole(value: object, shown: str) -> None:
    assert figure(value) == shown


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("training.epochs", 1234567, "1,234,567"),
        ("training.seed", 1234567, "1234567"),
        ("data.seed", 20261128, "20261128"),
        ("data.exclude", ["city", "name"], "city, name"),
        ("data.exclude", [], "–"),
        ("data.features", None, "–"),
    ],
)
def test_settings_are_shown_as_figures_but_a_seed_counts_nothing(name: str, value: object, shown: str) -> None:
    assert setting(name, value) == shown


@pytest.mark.parametrize(
    ("number", "things", "words"), [(0, "runs", "0 runs"), (1, "runs", "1 run"), (1000, "left over", "1,000 left over")]
)
def test_one_thing_is_no_plural(number: int, things: str, words: str) -> None:
    assert counted(number, things) == words
