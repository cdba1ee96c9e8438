import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.caching.key import StageCall, digest_of, stage_call
from tasks.caching.records import (
    DamagedArtifactError,
    ForeignRecordError,
    Record,
    UnreadableRecordError,
    check_record,
    find_record,
    last_file,
    last_ingredients,
    open_envelope,
    record_name,
    remember_last,
)
from tasks.caching.stage import StageConfig, StageContext, stage
from tasks.caching.storage.durable import replace_file
from tasks.caching.storage.reference import Outputs, Reference
from tasks.caching.storage.store import Store


class FitConfig(StageConfig):
    rate: float = 0.1


@stage(FitConfig, outputs=("weights",), libraries=())
def fit(config: FitConfig, inputs: Mapping[str, Reference], context: StageContext) -> Outputs:
    raise NotImplementedError


fit.function.__module__ = "tasks.generate"  # stands for a stage of the project


CALL = stage_call(fit, FitConfig(), {})
OTHER_CALL = stage_call(fit, FitConfig(rate=0.2), {})


def publish(store: Store, call: StageCall = CALL) -> Record:
    weights = store.publish("fit", "weights.pth", lambda file: file.write(b"weights"))
    return Record("fit", call.key, call.ingredients, {"weights": weights}, 1.5)


def envelope(record: Record) -> bytes:
    """As Prefect's result store writes it."""
    return json.dumps({"metadata": {"expiration": None}, "result": record.to_json().decode()}).encode()


def lay(store: Store, content: bytes, call: StageCall = CALL) -> Path:
    path = store.records / record_name(call)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
references = st.builds(
    Reference.of_content, st.from_regex(r"data/[A-Za-z0-9]{1,9}\.(json|pth)", fullmatch=True), st.binary(max_size=9)
)
records = st.builds(
    lambda stage, ingredients, outputs, seconds: Record(stage, digest_of(ingredients), ingredients, outputs, seconds),
    stage=st.text(),
    ingredients=st.dictionaries(st.text(), values | st.lists(values), max_size=5),
    outputs=st.dictionaries(st.text(), references, max_size=3),
    seconds=st.floats(0, 1e9),
)


class TestJson:
    @given(records)
    def test_a_record_survives_json(self, record: Record) -> None:
        assert Record.from_json(record.to_json()) == record
        assert Record.from_json(record.to_json().decode()) == record

    def test_a_record_that_ends_early_is_unreadable_wherever_it_ends(self, store: Store) -> None:
        content = publish(store).to_json()
        for end in range(len(content)):
            with pytest.raises(UnreadableRecordError):
                Record.from_json(content[:end])

    def test_an_altered_byte_makes_a_record_unreadable_wherever_it_is(self, store: Store) -> None:
        record = publish(store)
        content = record.to_json()
        for offset in range(len(content)):
            altered = bytearray(content)
            altered[offset] ^= 1
            try:
                assert Record.from_json(bytes(altered)) == record  # as where 1.5 becomes 1.50, or a space a line end
            except UnreadableRecordError:
                continue

    @given(st.binary(max_size=30) | st.text(max_size=30).map(str.encode))
    def test_garbage_is_unreadable(self, content: bytes) -> None:
        with pytest.raises(UnreadableRecordError):
            Record.from_json(content)

    @pytest.mark.parametrize("content", ["null", "[]", "{}", '"schema"', "7", "NaN", '{"schema": 1}', "{} {}"])
    def test_json_that_is_no_record_is_unreadable(self, content: str) -> None:
        with pytest.raises(UnreadableRecordError):
            Record.from_json(content)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"outputs": []}, "no attribute 'items'"),
            ({"outputs": {"weights": None}}, "not a reference"),
            ({"outputs": {"weights": {"path": "x"}}}, "not a reference"),
            ({"more": 1}, "unexpected keyword argument 'more'"),
            ({"ingredients": {}}, "its key is not that of its ingredients"),
            ({"ingredients": None}, "its key is not that of its ingredients"),
            ({"key": None}, "its key is not that of its ingredients"),
        ],
    )
    def test_a_record_of_another_form_is_unreadable(self, store: Store, change: dict[str, Any], said: str) -> None:
        with pytest.raises(UnreadableRecordError, match=said):
            Record.from_json(rewritten(publish(store), change))

    @pytest.mark.parametrize("schema", [0, 2, "2", None])
    def test_a_record_of_another_schema_is_distinguished_from_an_altered_one(self, store: Store, schema: Any) -> None:
        content = rewritten(publish(store), {"schema": schema})
        with pytest.raises(ForeignRecordError, match=f"another version: it has schema {schema!r} instead of 1"):
            Record.from_json(content)
        altered = publish(store).to_json().replace(b'"schema": 1', f'"schema": {json.dumps(schema)}'.encode())
        with pytest.raises(UnreadableRecordError, match="it was altered"):
            Record.from_json(altered)

    @pytest.mark.parametrize("twice", ["key", "outputs", "checksum", "path"])
    def test_a_record_with_a_key_twice_is_unreadable(self, store: Store, twice: str) -> None:
        content = publish(store).to_json()
        doubled = re.sub(rb'("%s": ("[^"]*"|\{.*?\}\}))' % twice.encode(), rb"\1, \1", content, count=1)
        assert json.loads(doubled) == json.loads(content), "for a careless reader nothing is wrong with it"
        with pytest.raises(UnreadableRecordError, match=f"the key '{twice}' occurs twice"):
            Record.from_json(doubled)

    @pytest.mark.parametrize("more", [b"{}", b"\0", b"x", b" 7"])
    def test_bytes_after_a_record_make_it_unreadable(self, store: Store, more: bytes) -> None:
        with pytest.raises(UnreadableRecordError):
            Record.from_json(publish(store).to_json() + more)
        with pytest.raises(UnreadableRecordError):
            open_envelope(envelope(publish(store)) + more, CALL.key)

    @pytest.mark.parametrize("path", ["../../secret.json", "/etc/passwd", "", "data/\0"])
    def test_a_record_that_names_something_outside_is_unreadable(self, store: Store, path: str) -> None:
        weights = publish(store).outputs["weights"].to_json() | {"path": path}
        with pytest.raises(UnreadableRecordError, match="must stay inside the project"):
            Record.from_json(rewritten(publish(store), {"outputs": {"weights": weights}}))


def rewritten(record: Record, change: dict[str, Any]) -> bytes:
    """A record with other fields and a checksum that is right all the same."""
    fields = json.loads(record.to_json()) | change
    del fields["checksum"]
    return json.dumps(fields | {"checksum": digest_of(fields)}).encode()


class TestFinding:
    def test_a_record_is_found_under_its_key(self, store: Store) -> None:
        record = publish(store)
        lay(store, envelope(record))
        assert find_record(CALL, store) == record

    def test_there_is_none_under_another_key(self, store: Store) -> None:
        lay(store, envelope(publish(store)))
        assert find_record(OTHER_CALL, store) is None

    def test_a_record_of_another_key_is_not_taken_for_this_ones(self, store: Store) -> None:
        lay(store, envelope(publish(store, OTHER_CALL)))
        with pytest.raises(UnreadableRecordError, match="belongs to another key"):
            find_record(CALL, store)

    def test_a_file_that_ends_early_is_unreadable_wherever_it_ends(self, store: Store) -> None:
        content = envelope(publish(store))
        for end in range(len(content)):
            lay(store, content[:end])
            with pytest.raises(UnreadableRecordError, match="record unreadable: "):
                find_record(CALL, store)

    @pytest.mark.parametrize("content", [b"\xff\xfe", b"null", b"[]", b"{}", b'"result"', b'{"result": 1}', b"\0" * 99])
    def test_a_file_that_is_something_else_is_unreadable(self, store: Store, content: bytes) -> None:
        lay(store, content)
        with pytest.raises(UnreadableRecordError, match="record unreadable: "):
            find_record(CALL, store)

    def test_a_folder_in_its_place_is_unreadable(self, store: Store) -> None:
        (store.records / record_name(CALL)).mkdir(parents=True)
        with pytest.raises(UnreadableRecordError, match="record unreadable: Is a directory"):
            find_record(CALL, store)

    @pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"WEIGHTS")])
    def test_a_record_whose_artifact_is_damaged_is_not_handed_out(
        self, store: Store, damage: Callable[[Path], object]
    ) -> None:
        record = publish(store)
        lay(store, envelope(record))
        damage(store.root / record.outputs["weights"].path)
        with pytest.raises(DamagedArtifactError, match=r"artifact (missing|altered)"):
            find_record(CALL, store)

    def test_every_artifact_of_a_record_is_checked(self, store: Store) -> None:
        record = publish(store)
        gone = Reference.of_content("artifacts/fit/gone.json", b"")
        assert check_record(record, store) is record
        with pytest.raises(DamagedArtifactError, match=r"gone\.json"):
            check_record(replace(record, outputs={**record.outputs, "gone": gone}), store)


class TestLastIngredients:
    def test_they_are_remembered_by_experiment_and_stage(self, store: Store) -> None:
        remember_last("line", CALL, store)
        remember_last("curve", OTHER_CALL, store)
        assert last_ingredients("line", "fit", store) == CALL.ingredients
        assert last_ingredients("curve", "fit", store) == OTHER_CALL.ingredients
        assert last_ingredients("line", "draw", store) is None

    def test_only_the_newest_are_kept(self, store: Store) -> None:
        remember_last("line", CALL, store)
        remember_last("line", OTHER_CALL, store)
        assert last_ingredients("line", "fit", store) == OTHER_CALL.ingredients

    def test_the_same_ones_are_not_written_again(self, store: Store) -> None:
        remember_last("line", CALL, store)
        before = last_file("line", "fit", store).stat()
        remember_last("line", CALL, store)
        assert last_file("line", "fit", store).stat() == before

    @pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"null", b"[1]", b'"text"', b"7"])
    def test_they_are_unknown_if_the_file_is_damaged_and_can_be_written_again(
        self, store: Store, content: bytes
    ) -> None:
        remember_last("line", CALL, store)
        last_file("line", "fit", store).write_bytes(content)
        assert last_ingredients("line", "fit", store) is None
        remember_last("line", CALL, store)
        assert last_ingredients("line", "fit", store) == CALL.ingredients

    def test_they_are_unknown_if_a_folder_is_in_their_place(self, store: Store) -> None:
        last_file("line", "fit", store).mkdir(parents=True)
        assert last_ingredients("line", "fit", store) is None


@pytest.mark.parametrize("content", [b"[" * 200_000, b'{"a":' * 200_000])
def test_json_that_is_nested_without_end_is_no_record(store: Store, content: bytes) -> None:
    replace_file(store.records / record_name(CALL), content)
    with pytest.raises(UnreadableRecordError):
        find_record(CALL, store)
    with pytest.raises(UnreadableRecordError):
        Record.from_json(content)
    replace_file(last_file("line", "fit", store), content)
    assert last_ingredients("line", "fit", store) is None
