from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.caching.storage.reference import Reference

DIGEST = "0123456789abcdef" * 4

hostile_paths = st.one_of(
    st.sampled_from(
        ["", ".", "..", "/", "//", "/etc/passwd", "../x", "a/..", "a/../../x", "data/\0", "a\nb", "\ud800", "./../x"]
    ),
    st.builds(lambda before, after: f"{before}/../{after}", st.text(max_size=5), st.text(max_size=5)),
    st.text(max_size=9).map(lambda path: f"/{path}"),
)


@given(hostile_paths)
def test_a_path_that_could_leave_the_root_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="must stay inside the project"):
        Reference(path, DIGEST, 1, "json")


#: Inside the root, but with names that the store gives to nothing, so that only somebody else can have written them.
ODD = [
    "a b.json",
    "ü.json",
    "..x/y..",
    "a/./b",
    "a//b",
    "a/",
    "コピー\u30001",
    ".hidden",
    "-x",
    "n" * 256,
    "a/" * 8 + "a",
]


@pytest.mark.parametrize("path", ODD)
def test_a_path_of_names_that_are_never_given_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="must stay inside the project"):
        Reference(path, DIGEST, 1, "json")


@pytest.mark.parametrize("path", ["data/train/train.parquet", "artifacts/runs/a.b-1/01_x.json", "x..", "n" * 200])
def test_a_path_inside_the_root_is_accepted(path: str) -> None:
    assert Reference(path, DIGEST, 1, "json").path == path


@pytest.mark.parametrize("digest", ["", DIGEST[1:], DIGEST + "0", DIGEST.upper(), DIGEST + "\n", "g" * 64])
def test_what_is_no_sha256_is_refused_as_a_digest(digest: str) -> None:
    with pytest.raises(ValueError, match="not a SHA-256 digest"):
        Reference("data/x.json", digest, 1, "json")


@pytest.mark.parametrize("size", [-1, 1.0, True, "1", None])
def test_what_is_no_number_of_bytes_is_refused_as_a_size(size: Any) -> None:
    with pytest.raises(ValueError, match="not a size in bytes"):
        Reference("data/x.json", DIGEST, size, "json")


@given(st.from_regex(r"[a-z0-9]{1,9}(/[A-Z0-9]{1,9}){0,3}\.json", fullmatch=True), st.binary(max_size=50))
def test_a_reference_survives_json(path: str, content: bytes) -> None:
    reference = Reference.of_content(path, content)
    assert Reference.from_json(reference.to_json()) == reference


def test_a_reference_of_content_shows_digest_size_and_kind() -> None:
    assert Reference.of_content("artifacts/train/a.b.pth", b"abc") == Reference(
        "artifacts/train/a.b.pth", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", 3, "pth"
    )


@pytest.mark.parametrize(
    "fields",
    [
        None,
        7,
        [],
        {},
        "path",
        {"path": "x", "digest": DIGEST, "size": 1},
        {"path": "x", "digest": DIGEST, "size": 1, "kind": "json", "more": 1},
        {"path": 5, "digest": DIGEST, "size": 1, "kind": "json"},
        {"path": "x", "digest": None, "size": 1, "kind": "json"},
        {"path": "../x", "digest": DIGEST, "size": 1, "kind": "json"},
    ],
)
def test_json_that_is_no_reference_is_refused(fields: Any) -> None:
    with pytest.raises(ValueError, match=r"not a reference|must stay inside"):
        Reference.from_json(fields)
