"""The outcome of a verification (verification.json in the run folder)."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tasks.caching.stage import StageContext
from tasks.caching.storage.durable import replace_file
from tasks.caching.storage.reference import Reference
from tasks.caching.storage.store import UnusableFileError, read_file
from tasks.caching.storage.strict_json import parse_json, parse_object

#: Name of the outcome in the run folder.
VERIFICATION = "verification.json"


@dataclass(frozen=True)
class Check:
    """One check of a verification: its name, whether it passed, and what was found."""

    name: str
    passed: bool
    detail: str


class VerificationError(Exception):
    """A checkpoint does not do what training recorded; `checks` has the checks that were made, if any."""

    def __init__(self, message: str, checks: tuple[Check, ...] = ()) -> None:
        super().__init__(message)
        self.checks = checks


def write_checks(context: StageContext, name: str, checks: Iterable[Check]) -> Reference:
    """Publishes checks as JSON."""
    return context.publish(name, json.dumps([asdict(check) for check in checks], indent=2).encode())


def read_checks(content: bytes) -> list[Check]:
    """The checks that `write_checks` published."""
    return [Check(**fields) for fields in parse_json(content)]


def write_verification(folder: Path, checks: Iterable[Check], circumstances: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the outcome of a verification into a run's folder, and returns it.

    That the run passed once stays in it: a collection keeps such a run, since what fails later may be the disk.

    Args:
        folder: of the run.
        checks: what was verified; it passed if all of them did.
        circumstances: when and where it took place.
    """
    outcomes = [asdict(check) for check in checks]
    passed = all(check["passed"] for check in outcomes)
    verification = {"passed": passed, "passed_once": passed or passed_once(folder), **circumstances, "checks": outcomes}
    replace_file(folder / VERIFICATION, json.dumps(verification, indent=2).encode())
    return verification


def passed_once(folder: Path) -> bool:
    """Whether a run has passed this verification or an earlier one, according to its folder."""
    try:
        before = parse_object(read_file(folder / VERIFICATION))
    except (FileNotFoundError, UnusableFileError, ValueError):
        return False
    return before.get("passed") is True or before.get("passed_once") is True
