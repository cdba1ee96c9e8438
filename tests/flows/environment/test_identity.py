"""The identity of stores that report to one server."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flows.environment.identity import PREFIX, identity, is_ours, store_tag
from flows.environment.settings import prefect_home


def test_a_store_keeps_its_identity_when_it_is_renamed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    made = identity(home)
    assert identity(home) == made
    home.rename(tmp_path / "renamed")
    assert identity(tmp_path / "renamed") == made


def test_a_copy_is_another_store(tmp_path: Path) -> None:
    made = identity(tmp_path / "home")
    shutil.copytree(tmp_path / "home", tmp_path / "copy")
    copied = identity(tmp_path / "copy")
    assert copied != made
    assert identity(tmp_path / "copy") == copied
    assert identity(tmp_path / "home") == made


def test_a_copy_of_the_file_alone_makes_no_store_the_same(tmp_path: Path) -> None:
    made = identity(tmp_path / "home")
    (tmp_path / "other" / ".prefect").mkdir(parents=True)
    (prefect_home(tmp_path / "home") / "store.json").rename(tmp_path / "other" / ".prefect" / "store.json")
    assert identity(tmp_path / "other") != made


def test_concurrent_processes_get_the_same_identity(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(identity, [tmp_path] * 64))) == 1
    assert [path.name for path in prefect_home(tmp_path).iterdir()] == ["store.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"store": 1, "inodes": []}', b'{"store": "x"}'])
def test_garbage_is_replaced(tmp_path: Path, content: bytes) -> None:
    path = prefect_home(tmp_path) / "store.json"
    path.parent.mkdir()
    path.write_bytes(content)
    made = identity(tmp_path)
    assert json.loads(path.read_bytes())["store"] == made == identity(tmp_path)


def test_tags_of_this_store_and_of_none_are_ours(tmp_path: Path) -> None:
    assert is_ours(["line", store_tag(tmp_path)], tmp_path)
    assert is_ours(["line"], tmp_path)
    assert not is_ours(["line", f"{PREFIX}0123"], tmp_path)
