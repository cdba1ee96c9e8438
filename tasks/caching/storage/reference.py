"""A reference: the small record of an artifact that stages pass on instead of the artifact itself."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any, Self

from tasks.limits import FILE

#: A path that never leaves the folder it is relative to: each part of it is a name that the store uses.
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
        kind: the type of the content, named by its file extension: parquet, pth, json, png, svg, html.
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
        """The reference to an artifact with this content at `path`."""
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
    """Placeholder for an artifact that is not known yet, because `stage` has not run.

    Attributes:
        stage: the stage whose result it depends on.
    """

    stage: str


#: What a stage returned: its artifacts by name.
Outputs = Mapping[str, Reference]

#: The same where earlier stages may not have run: in a plan, and beyond `until`.
Expected = Mapping[str, Reference | Pending]
