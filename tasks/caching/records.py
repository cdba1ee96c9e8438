"""Records: what is kept of a finished stage, and of the last time that each stage of an experiment was used.

A record lies at records/<stage>/<key>.json, written through Prefect's result store (which wraps it in an envelope with
metadata). Beside it, records/last/<experiment>/<stage>.json keeps the ingredients of the newest key, so that the next
run can say what changed.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from tasks.caching.key import Ingredients, Order, digest_of
from tasks.caching.reference import Outputs, Reference
from tasks.caching.store import DamagedArtifactError, Store, replace_file

#: Raised when the form of a record changes; a record of another schema is not read.
SCHEMA = 1


class UnreadableRecordError(Exception):
    """A record is no record: truncated, garbage, of another schema, or of another key."""


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
        """The record as JSON, with a checksum; `from_json` reads it."""
        fields = asdict(self)
        return json.dumps({"schema": SCHEMA, "checksum": digest_of(fields)} | fields).encode()

    @classmethod
    def from_json(cls, content: bytes | str) -> Self:
        """Reads a record.

        Raises:
            UnreadableRecordError: the content is not a whole and unaltered record of this schema.
        """
        try:
            fields = json.loads(content)
            if (schema := fields.pop("schema")) != SCHEMA:
                raise ValueError(f"schema {schema!r} instead of {SCHEMA}")
            if fields.pop("checksum") != digest_of(fields):
                raise ValueError("it was altered")
            outputs = {name: Reference.from_json(reference) for name, reference in fields.pop("outputs").items()}
            return cls(outputs=outputs, **fields)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UnreadableRecordError(f"record unreadable: {error}") from error


def check_record(record: Record, store: Store) -> Record:
    """Returns the record if everything that it names is there and unaltered.

    Raises:
        DamagedArtifactError: an artifact is missing or altered.
    """
    for reference in record.outputs.values():
        store.path(reference)
    return record


def record_name(order: Order) -> str:
    """Where the record of an order lies, relative to the records' folder."""
    return f"{order.stage.name}/{order.key}.json"


def record_path(order: Order) -> str:
    """Where the record of an order lies, relative to the root."""
    return f"artifacts/records/{record_name(order)}"


def find_record(order: Order, store: Store) -> Record | None:
    """The record under an order's key, checked; None if there is none.

    Raises:
        UnreadableRecordError: there is something, but it is no record of this key.
        DamagedArtifactError: the record is whole, an artifact that it names is not.
    """
    try:
        envelope = (store.records / record_name(order)).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnreadableRecordError(f"record unreadable: {error.strerror}") from error
    return check_record(open_envelope(envelope, order.key), store)


def open_envelope(envelope: bytes, key: str) -> Record:
    """The record of a key, out of the envelope that Prefect puts around it.

    Raises:
        UnreadableRecordError: there is no record in it, or one of another key.
    """
    try:
        content = json.loads(envelope)["result"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UnreadableRecordError(f"record unreadable: {error}") from error
    record = Record.from_json(content)
    if record.key != key:
        raise UnreadableRecordError("record unreadable: it belongs to another key")
    return record


def last_ingredients(experiment: str, stage: str, store: Store) -> Ingredients | None:
    """The ingredients with which an experiment last used a stage; None if it never did, or nobody knows any more."""
    try:
        ingredients = json.loads(last_file(experiment, stage, store).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return ingredients if isinstance(ingredients, dict) else None


def remember_last(experiment: str, order: Order, store: Store) -> None:
    """Keeps an order's ingredients as the last ones of its experiment, if they are not already."""
    if last_ingredients(experiment, order.stage.name, store) != order.ingredients:
        content = json.dumps(order.ingredients, indent=0).encode()
        replace_file(last_file(experiment, order.stage.name, store), content)


def last_file(experiment: str, stage: str, store: Store) -> Path:
    """Where the last ingredients of an experiment's stage are kept."""
    return store.records / "last" / experiment / f"{stage}.json"


__all__ = [
    "DamagedArtifactError",
    "Record",
    "UnreadableRecordError",
    "check_record",
    "find_record",
    "last_ingredients",
    "open_envelope",
    "record_name",
    "record_path",
    "remember_last",
]
