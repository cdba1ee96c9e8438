"""Records that somebody hostile has written: nothing that they say is carried out."""

import base64
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.caching.key import digest_of
from tasks.caching.records import Record
from tasks.caching.storage.store import Store
from tests.flows.cache.test_caching import records_of
from tests.support.hostile_files import trap

#: Begins a record, and then counts as base64 too: an instruction to read a number of 120 bytes, and its first seven.
BEGINNING, PICKLED = "ingredients" + "A", b"\x8a\x78"


def as_record_and_pickle(record: Record, hostile: object) -> str:
    """A whole record, checksum and all, whose letters and digits are the base64 form of a pickle besides.

    What reads base64 passes over everything else, such as the quotes of JSON.
    """
    assert base64.b64decode(BEGINNING).startswith(PICKLED)
    skipped = bytes(120 + len(PICKLED) - len(base64.b64decode(BEGINNING)))
    code = skipped + pickle.dumps(hostile, protocol=2)
    code += bytes(-len(code) % 3)
    for filler in range(4):
        ingredients = {f"A{base64.b64encode(code).decode()}": "x" * filler} | record.ingredients
        fields = {"ingredients": ingredients} | json.loads(record.to_json()) | {"ingredients": ingredients}
        del fields["checksum"]
        text = json.dumps(fields | {"checksum": digest_of(fields)})
        if sum(letter.isascii() and (letter.isalnum() or letter in "+/") for letter in text) % 4 == 0:
            return text
    raise AssertionError("one of four lengths fits")


@pytest.fixture
def put(trained: Store) -> Callable[[str, dict[str, Any]], Path]:
    """Puts an envelope of one's own in the place of the record of the split."""

    def put(result: str, metadata: dict[str, Any]) -> Path:
        path, _ = records_of(trained)["split"]
        path.write_text(json.dumps({"metadata": metadata, "result": result}))
        return path

    return put


SERIALIZERS = {
    "pickle": {"type": "pickle"},
    "another pickle": {"type": "pickle", "picklelib": "pickle"},
    "compressed pickle": {"type": "compressed", "serializer": {"type": "pickle"}},
    "json": {"type": "json"},
    "unknown": {"type": "of another world"},
}


def test_code_in_a_record_is_never_run(
    trained: Store, put: Callable[..., Path], train: Callable[..., Any], tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    before = records_of(trained)["split"][1]
    result = as_record_and_pickle(before, trap(canary))
    put(result, {"serializer": SERIALIZERS["pickle"]})
    outcome = train("line")
    assert not canary.exists()
    assert (outcome.ran, outcome.reasons["split"]) == (
        ["split"],
        ("record unreadable: its key is not that of its ingredients",),
    )
    assert records_of(trained)["split"][1].outputs == before.outputs
    pickle.loads(base64.decodebytes(result.encode()))
    assert canary.exists(), "the trap works"


@pytest.mark.parametrize("serializer", SERIALIZERS.values(), ids=SERIALIZERS)
def test_a_record_does_not_choose_what_reads_it(
    trained: Store, put: Callable[..., Path], train: Callable[..., Any], serializer: dict[str, Any]
) -> None:
    record = records_of(trained)["split"][1]
    put(record.to_json().decode(), {"serializer": serializer, "expiration": "2000-01-01T00:00:00Z"})
    outcome = train("line")
    assert outcome.ran == []
    assert outcome.digests["split.train"] == record.outputs["train"].digest


@pytest.fixture
def read(trained: Store, prefect: None) -> Callable[[Path], Any]:
    """Reads a record as Prefect does; gives the serializer that it takes, and what that makes of the record."""
    from prefect._internal.result_records import ResultRecord

    from tasks.caching.prefect_run import RecordFiles

    def read(path: Path) -> tuple[str, Any]:
        content = RecordFiles(basepath=str(trained.records)).read_path(str(path.relative_to(trained.records)))
        found: ResultRecord[Any] = ResultRecord.deserialize(content)
        return found.serializer.type, found.result

    return read


@pytest.mark.parametrize("serializer", SERIALIZERS.values(), ids=SERIALIZERS)
def test_prefect_reads_a_record_as_nothing_else(
    trained: Store, put: Callable[..., Path], read: Callable[[Path], Any], serializer: dict[str, Any]
) -> None:
    record = records_of(trained)["split"][1]
    kind, found = read(put(record.to_json().decode(), {"serializer": serializer}))
    assert (kind, found.record) == ("workflow-record", record)
