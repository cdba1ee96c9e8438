"""A run's name is written and read in one place."""

from datetime import UTC, datetime

import pytest

from tasks.caching.storage.run_name import RunName

MOMENT = datetime(2026, 11, 27, 5, 17, 38, tzinfo=UTC)


def test_it_says_what_and_when() -> None:
    name = RunName.at("line", MOMENT)
    assert [str(name), str(name.next), str(name.next.next)] == [
        "line-20261127-051738",
        "line-20261127-051738-2",
        "line-20261127-051738-3",
    ]


@pytest.mark.parametrize("experiment", ["line", "line-cuda", "a.b_c-1", "line-20251127-051738", "x" * 64])
@pytest.mark.parametrize("number", [1, 2, 17])
def test_it_is_read_as_it_was_written(experiment: str, number: int) -> None:
    name = RunName(experiment, "20261127-051738", number)
    assert RunName.parse(str(name)) == name


@pytest.mark.parametrize(
    "text", ["", "line", "line-latest", "line-1", "-20261127-051738", "line-20261127-051738-", "line-20261127-051738\n"]
)
def test_another_name_is_none(text: str) -> None:
    assert RunName.parse(text) is None
