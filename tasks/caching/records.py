"""Records: what is kept of a finished stage, and of the last time that each stage of an experiment was used.

A record lies at records/<stage>/<key>.json, written through Prefect's result store (which wraps it in an envelope with
metadata). Beside it, records/last/<experiment>/<stage>.json keeps the ingredients of the newest key, so that the next
run can say what changed.

A record of another schema is a miss, and the run's own record replaces it: records can always be recomputed.
"""

import contextlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from tasks.caching.ingredients import Ingredients
from tasks.caching.key import StageCall, digest_of
from tasks.caching.storage.durable import replace_file
from tasks.caching.storage.reference import Outputs, Reference
from tasks.caching.storage.store import DamagedArtifactError, Store, UnusableFileError, read_file
from tasks.caching.storage.strict_json import parse_object

#: Raised when the form of a record changes; a record of another schema is not read. The checksum never changes, so that
#: every version can distinguish a record of another version from a damaged one.
SCHEMA = 1


class UnreadableRecordError(Exception):
    """A file in a record's place is not usable: truncated, garbage, of another schema, or of another key."""


class ForeignRecordError(UnreadableRecordError):
    """A record is intact, but another version of this project made it."""


@dataclass(frozen=True)
class Record:
    """What is stored under a stage's key.

    Attributes:
        stage: name of the stage.
        key: SHA-256 of the ingredients.
        ingredients: what the key is made of.
        outputs: the stage's artifacts by name.
        seconds: the stage took to compute.
    """

    stage: str
    key: str
    ingredients: Ingredients
    outputs: Outputs
    seconds: float

    def to_json(self) -> bytes:
        """The record as JSON, with a checksum of all the rest; `from_json` reads it."""
        fields = {"schema": SCHEMA} | asdict(self)
        return json.dumps({"checksum": digest_of(fields)} | fields).encode()

    @classmethod
    def from_json(cls, content: bytes | str) -> Self:
        """Reads a record.

        Raises:
            ForeignRecordError: the content is a whole and unaltered record of another schema.
            UnreadableRecordError: the content is not a record.
        """
        try:
            fields = parse_object(content)
            if fields.pop("checksum") != digest_of(fields):
                raise ValueError("it was altered")
            if (schema := fields.pop("schema")) != SCHEMA:
                raise ForeignRecordError(f"record of another version: it has schema {schema!r} instead of {SCHEMA}")
            if fields["key"] != digest_of(fields["ingredients"]):
                raise ValueError("its key is not that of its ingredients")
            outputs = {name: Reference.from_json(reference) for name, reference in fields.pop("outputs").items()}
            return cls(outputs=outputs, **fields)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UnreadableRecordError(f"record unreadable: {error}") from error


def check_record(record: Record, store: Store) -> Record:
    """Returns the record if everything that it names is there and unaltered.

    Raises:
        DamagedArtifactError: an artifact is missing or altered.
    """
    for reference in record.outputs.values():
        store.path(reference)
    return record


def record_name(call: StageCall) -> str:
    """Where the record of a call lies, relative to the records' folder."""
    return f"{call.stage.name}/{call.key}.json"


def record_path(call: StageCall) -> str:
    """Where the record of a call lies, relative to the root."""
    return f"artifacts/records/{record_name(call)}"


def find_record(call: StageCall, store: Store) -> Record | None:
    """The record under a call's key, checked; None if there is none.

    Raises:
        UnreadableRecordError: a file is there, but it is no record of this key.
        DamagedArtifactError: the record is intact, but an artifact that it names is not.
        OSError: this process can open no more files.
    """
    try:
        record = read_record(store.records / record_name(call))
    except FileNotFoundError:
        return None
    return check_record(record, store)


def read_record(path: Path) -> Record:
    """The record that lies at a path.

    Raises:
        FileNotFoundError: there is none.
        UnreadableRecordError: a file is there, but it is no record of the key that it is named after.
        OSError: this process can open no more files.
    """
    try:
        envelope = read_file(path)
    except UnusableFileError as error:
        raise UnreadableRecordError(f"record unreadable: {error}") from error
    return open_envelope(envelope, path.stem)


def record_of(path: str, stage: str, store: Store) -> Record | None:
    """The record of a stage that names an artifact, found by looking through all of them; None if none does.

    Args:
        path: of the artifact, relative to the root.
        stage: name of the stage.
        store: where the records lie.

    Raises:
        OSError: this process can open no more files.
    """
    for place in sorted((store.records / stage).glob("*.json")):
        with contextlib.suppress(FileNotFoundError, UnreadableRecordError):
            record = read_record(place)
            if path in {reference.path for reference in record.outputs.values()}:
                return record
    return None


def open_envelope(envelope: bytes, key: str) -> Record:
    """The record of a key, from the envelope that Prefect puts around it.

    Raises:
        UnreadableRecordError: there is no record in it, or one of another key.
    """
    try:
        content = parse_object(envelope)["result"]
        if not isinstance(content, str):
            raise ValueError("there is no text in its envelope")
    except (ValueError, KeyError) as error:
        raise UnreadableRecordError(f"record unreadable: {error}") from error
    record = Record.from_json(content)
    if record.key != key:
        raise UnreadableRecordError("record unreadable: it belongs to another key")
    return record


def last_ingredients(experiment: str, stage: str, store: Store) -> Ingredients | None:
    """The ingredients with which an experiment last used a stage; None if it never did, or if they cannot be read."""
    try:
        return parse_object(read_file(last_file(experiment, stage, store)))
    except (OSError, UnusableFileError, ValueError):
        return None


def remember_last(experiment: str, call: StageCall, store: Store) -> None:
    """Keeps a call's ingredients as the last ones of its experiment, if they are not already."""
    if last_ingredients(experiment, call.stage.name, store) != call.ingredients:
        content = json.dumps(call.ingredients, indent=0).encode()
        replace_file(last_file(experiment, call.stage.name, store), content)


def last_file(experiment: str, stage: str, store: Store) -> Path:
    """Where the last ingredients of an experiment's stage are kept."""
    return store.records / "last" / experiment / f"{stage}.json"


__all__ = [
    "DamagedArtifactError",
    "ForeignRecordError",
    "Record",
    "UnreadableRecordError",
    "check_record",
    "find_record",
    "last_ingredients",
    "open_envelope",
    "read_record",
    "record_name",
    "record_of",
    "record_path",
    "remember_last",
]
