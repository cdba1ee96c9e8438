import pytest
from pydantic import BaseModel, Field, ValidationError, model_validator

from flows.errors import MAX_LINE_LENGTH, list_problems, truncate


class Inner(BaseModel):
    model_config = {"extra": "forbid"}
    count: int = Field(1, ge=1)
    word: str = Field("a", pattern="^[a-z]+$")

    @model_validator(mode="after")
    def _fits(self) -> "Inner":
        if self.count == 13:
            raise ValueError("thirteen brings no luck")
        return self


class Outer(BaseModel):
    inner: Inner = Inner()


def message(**inner: object) -> str:
    """The message about a bad configuration."""
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate({"inner": inner})
    return str(list_problems(caught.value, "my.toml"))


def test_every_problem_has_a_line_that_names_its_field() -> None:
    assert message(count=0, word="A", other=1).splitlines() == [
        "my.toml is not a valid experiment:",
        "  inner.count: input should be greater than or equal to 1 (got 0)",
        "  inner.word: 'A' is not of its form, which `workflow train --help` describes",
        "  inner.other: unknown field",
    ]


def test_the_projects_own_words_stand_as_they_are() -> None:
    assert message(count=13).splitlines()[1] == "  inner: thirteen brings no luck"


def test_no_link_to_a_manual_of_pydantic_is_in_a_message() -> None:
    assert "http" not in message(count="x")


def test_a_very_long_line_is_cut() -> None:
    whole = "a" * MAX_LINE_LENGTH
    assert truncate(f"{whole}\n{whole}b\nc") == f"{whole}\n{whole}…\nc"
