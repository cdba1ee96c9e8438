"""A reference: the small record of an artifact that stages pass on in place of the artifact."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any, Self

from tasks.limits import FILE

#: A path that never leaves the folder that it is relative to: each part of it is a name that the store gives.
PATH = re.compile(rf"{FILE}(/{FILE}){{0,7}}")

#: A SHA-256 in names and manifests.
SHA256 = r"[0-9a-f]{64}"


@dataclass(frozen=True)
class Reference:
    """Where an artifact lies and what its bytes must be.

    Attributes:
        path: relative to the project's root, with forward slashes; never leaves it, see `PATH`.
        digest: SHA-256 of the content, 64 hexadecimal digits.
        size: bytes.
        kind: what the content is, named by its file ending: parquet, pth, json, png, svg, html.
    """

    path: str
    digest: str
    size: int
    kind: str

    def __post_init__(self) -> None:
        if not PATH.fullmatch(self.path):
            raise ValueError(f"a reference must stay inside the project: {self.path!r}")
        if not re.fullmatch(SHA256, self.digest):
            raise ValueError(f"not a SHA-256 digest: {self.digest!r}")
        if type(self.size) is not int or self.size < 0:
            raise ValueError(f"not a size in bytes: {self.size!r}")

    @classmethod
    def of_content(cls, path: str, content: bytes) -> Self:
        """The reference that an artifact of this content has at `path`."""
        kind = PurePosixPath(path).suffix.lstrip(".")
        return cls(path, hashlib.sha256(content).hexdigest(), len(content), kind)

    @classmethod
    def from_json(cls, fields: Any) -> Self:
        """The reference that `to_json` described.

        Raises:
            ValueError: a field is missing, unknown or of the wrong form.
        """
        try:
            return cls(**fields)
        except TypeError as error:
            raise ValueError(f"not a reference: {error}") from error

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class Pending:
    """Stands for an artifact that is not known yet, because `stage` has not run.

    Attributes:
        stage: the stage on whose outcome it depends.
    """

    stage: str


#: What a stage gave: its artifacts by name.
Outputs = Mapping[str, Reference]

#: The same where stages before may not have run: in a plan, and past `until`.
Expected = Mapping[str, Reference | Pending]
