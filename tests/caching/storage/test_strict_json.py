import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.caching.storage.strict_json import DEEPEST, parse_json, parse_object

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES, st.booleans())
def test_every_value_is_read_as_it_was_written(value: Any, escaped: bool) -> None:
    text = json.dumps(value, ensure_ascii=escaped)
    assert parse_json(text) == parse_json(text.encode()) == value


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"a": 1, "b": 2, "a": 1}', "the key 'a' occurs twice in one object"),
        ('[{"x": {"a": 1, "\\u0061": 2}}]', "the key 'a' occurs twice in one object"),
        ("NaN", "NaN is not a number"),
        ("[-Infinity]", "-Infinity is not a number"),
        ("1e999", "1e999 is larger than any number"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("[" * 500 + "]" * 500, "nested too deeply"),
        ('"\\ud800"', "surrogates not allowed"),
        ('{"\\uDfff": 1}', "surrogates not allowed"),
        ("9" * 5000, "Exceeds the limit"),
        ("{} {}", "Extra data"),
        ("", "Expecting value"),
        (b"\xff\xfe", "can't decode byte"),
        ("{}".encode("utf-16"), "can't decode byte"),
        ("\ufeff{}", "BOM"),
    ],
)
def test_what_two_readers_could_take_for_different_things_is_refused(content: bytes | str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_json(content)


def test_half_of_a_pair_is_refused_and_a_whole_one_read() -> None:
    assert parse_json('"\\ud83d\\ude00"') == "😀"


def test_as_deep_as_anybody_needs_is_read() -> None:
    assert parse_json("[" * DEEPEST + "]" * DEEPEST)


@pytest.mark.parametrize("content", ["[]", "1", "null", '"text"'])
def test_an_object_is_asked_for(content: str) -> None:
    with pytest.raises(ValueError, match="not a JSON object"):
        parse_object(content)


def test_an_object_is_given() -> None:
    assert parse_object(b'{"a": 1.5}') == {"a": 1.5}
    assert math.isclose(parse_object('{"a": 1e308}')["a"], 1e308)
