"""The manifest of a run (run.json): enough to know how each artifact was made, and to reproduce the run."""

import hashlib
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from tasks.caching.reasons import RunStatus
from tasks.caching.stage import StageReport
from tasks.caching.storage.reference import SHA256, Reference
from tasks.caching.storage.store import MOST_HELD, UnusableFileError, artifact_folder, read_file, run_path
from tasks.caching.storage.strict_json import parse_object
from tasks.limits import CHECKPOINT, FILE, MOST_THREADS, NAME, RUN

#: Name of the manifest in the run folder.
MANIFEST = "run.json"

#: The stage that saves runs: its records have the digests of the manifest and the other files of a run folder.
SAVED_BY = "save"

#: Name of the report beside it, which the manifest cannot list, since the report is made from the manifest.
REPORT = "report.html"

#: Version of the manifest's schema. Other versions are refused; see `Manifest.read`.
SCHEMA = 1


class ManifestError(Exception):
    """A manifest cannot be read."""


class ForeignManifestError(ManifestError):
    """A manifest has another schema: another version of this project made it."""


def require_utc(text: str) -> str:
    """Checks that a text is a UTC timestamp, by which the runs of an experiment are sorted.

    Raises:
        ValueError: it is not.
    """
    if datetime.fromisoformat(text).utcoffset() != timedelta(0):
        raise ValueError("is not a time in UTC")
    return text


#: The path of a file inside a run folder.
RunFile = Annotated[str, Field(pattern=rf"^{FILE}(/{FILE})?$")]


class Part(BaseModel):
    """Base of the models in a manifest: they are frozen, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ArtifactEntry(Part):
    """An artifact: its path relative to the project's root, SHA-256, size in bytes and kind."""

    path: str
    digest: str
    size: int
    kind: str

    @model_validator(mode="after")
    def _is_a_reference(self) -> Self:
        self.reference()
        return self

    def reference(self) -> Reference:
        """The entry as a reference."""
        return Reference(self.path, self.digest, self.size, self.kind)

    def is_made_by(self, stage: str) -> bool:
        """Whether a stage publishes artifacts of this digest and kind under the path."""
        folder, _, name = self.path.rpartition("/")
        return folder == artifact_folder(stage, self.kind) and name.endswith(f"-{self.digest}.{self.kind}")


class StageEntry(Part):
    """A stage of the run: its key, whether it ran or was reused and why, its duration, and its artifacts."""

    name: str = Field(pattern=rf"^{NAME}$")
    key: str = Field(pattern=rf"^{SHA256}$")
    status: RunStatus
    reasons: list[str]
    seconds: float | None
    outputs: dict[str, ArtifactEntry]

    @classmethod
    def of(cls, report: StageReport) -> Self:
        """The entry for the report of a stage."""
        outputs = {name: ArtifactEntry(**reference.to_json()) for name, reference in report.outputs.items()}
        return cls(
            name=report.name,
            key=report.key,
            status=report.status,
            reasons=list(map(str, report.reasons)),
            seconds=report.seconds,
            outputs=outputs,
        )


class Environment(Part):
    """The environment in which the run took place.

    Attributes:
        device: that the model was trained on, resolved: for example cpu or cuda:0.
        device_note: why the device is not the preferred one; empty otherwise.
        threads: CPU threads of torch.
        python: version.
        machine: operating system and processor architecture.
        versions: of the libraries that shape results.
        git_commit: of the checkout; None outside one. Ends in "+changes" if files differ from it.
    """

    device: str
    device_note: str
    threads: int = Field(ge=1, le=MOST_THREADS, strict=True)
    python: str
    machine: str
    versions: dict[str, str]
    git_commit: str | None


def require_settings(experiment: dict[str, Any]) -> dict[str, Any]:
    """Checks that an experiment has a valid name, and otherwise only settings, in at most one level of sections.

    A setting is a text, a number, a truth value or nothing; in a section, it can also be a list of these.

    Raises:
        ValueError: it has not.
    """
    if not isinstance(name := experiment.get("name"), str):
        raise ValueError("it has no name")
    if not re.fullmatch(NAME, name):
        raise ValueError("its name is not a valid name of an experiment")
    for name, value in experiment.items():
        settings = [value]
        if isinstance(value, dict):
            settings = [
                single for given in value.values() for single in (given if isinstance(given, list) else [given])
            ]
        if not all(isinstance(single, str | int | float | None) for single in settings):
            raise ValueError(f"{name} holds something that is not a setting")
    return experiment


class SchemaVersion(BaseModel):
    """The version of a manifest's schema, which is read before the rest."""

    schema_version: int = SCHEMA


class Manifest(Part):
    """Everything about one run.

    Attributes:
        schema_version: of the manifest's schema.
        run: name of the run and of its folder.
        created: when, in UTC, ISO 8601.
        checkpoint: file name of the checkpoint in the run folder.
        experiment: the whole configuration, as it ran: with the resolved device and number of threads.
        seed: of the model.
        environment: in which it ran.
        stages: in order; the last one, save, is still "running" while it writes this.
        files: what the run folder holds besides the manifest and the report, by name.
    """

    schema_version: int = SCHEMA
    run: str = Field(pattern=rf"^{RUN}$")
    created: Annotated[str, AfterValidator(require_utc)]
    checkpoint: str = Field(pattern=rf"^{CHECKPOINT}$")
    experiment: Annotated[dict[str, Any], AfterValidator(require_settings)]
    seed: int
    environment: Environment
    stages: list[StageEntry]
    files: dict[RunFile, ArtifactEntry]

    @field_validator("files")
    @classmethod
    def _can_be_held(cls, files: dict[str, ArtifactEntry]) -> dict[str, ArtifactEntry]:
        for name, entry in files.items():
            if entry.size > MOST_HELD:
                raise ValueError(f"{name} has {entry.size:,} bytes; no run has a file of more than {MOST_HELD:,}")
        return files

    @field_validator("environment")
    @classmethod
    def _ran_as_configured(cls, environment: Environment, known: ValidationInfo) -> Environment:
        training = known.data.get("experiment", {}).get("training")
        threads = training.get("threads") if isinstance(training, dict) else None
        if threads not in (None, environment.threads):
            raise ValueError(f"it has {environment.threads} threads, and training.threads is {threads}")
        return environment

    @model_validator(mode="after")
    def _names_what_it_owns(self) -> Self:
        """Checks that the manifest names only files in its own folder, and artifacts where its stages publish them."""
        for name, entry in self.files.items():
            if entry.path != run_path(self.run, name):
                raise ValueError(f"files.{name} is {entry.path}, which is not in the run's own folder")
        for stage in self.stages:
            for name, entry in stage.outputs.items():
                if not entry.is_made_by(stage.name):
                    raise ValueError(f"{name} of stage {stage.name} is {entry.path}, which that stage does not publish")
        return self

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The manifest of a run folder.

        Raises:
            ForeignManifestError: it has another schema; the message says what to do.
            ManifestError: it is missing, damaged, or that of another run; likewise.
        """
        path = folder / MANIFEST
        try:
            content = read_file(path)
        except FileNotFoundError as error:
            raise ManifestError(f"{path}: {error.strerror}; is this a run folder?") from error
        except UnusableFileError as error:
            raise ManifestError(f"{path} cannot be read ({error}): train again to make a new run") from error
        try:
            fields = parse_object(content)
            check_schema(SchemaVersion.model_validate(fields).schema_version, path)
            manifest = cls.model_validate(fields)
            if manifest.run != folder.resolve().name:
                raise ValueError(f"it is that of run {manifest.run}")
            return manifest
        except ValidationError as error:
            raise ManifestError(f"{path} is damaged ({first_problem(error)}): train again to make a new run") from error
        except ValueError as error:
            raise ManifestError(f"{path} is damaged (the file: {error}): train again to make a new run") from error

    def file(self, name: str) -> Reference:
        """The reference to a file of the run folder.

        Raises:
            ManifestError: the manifest does not name it.
        """
        if name not in self.files:
            raise ManifestError(f"the manifest of run {self.run} does not name {name}")
        return self.files[name].reference()

    def made(self, name: str) -> Reference:
        """The reference to an artifact of the run, whichever of its stages made it.

        Raises:
            ManifestError: the manifest does not name it.
        """
        for entry in self.stages:
            if name in entry.outputs:
                return entry.outputs[name].reference()
        raise ManifestError(f"the manifest of run {self.run} does not name {name}")

    def stage(self, name: str) -> StageEntry:
        """The entry of a stage.

        Raises:
            ManifestError: the run has no such stage.
        """
        for entry in self.stages:
            if entry.name == name:
                return entry
        raise ManifestError(f"run {self.run} has no stage {name}")


def first_problem(error: ValidationError) -> str:
    """Describes the first problem of a manifest: its field, if it is about a single one, and what is wrong."""
    first = error.errors()[0]
    field, message = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
    shown = field if field.isprintable() else ascii(field)
    return f"{shown}: {message}" if field else message


def manifest_digest(folder: Path) -> str:
    """SHA-256 of the manifest in a run folder, 64 hexadecimal digits: it identifies the run, whose files it lists.

    Raises:
        OSError: it cannot be read.
        UnusableFileError: it is not a plain file, or larger than any manifest.
    """
    return hashlib.sha256(read_file(folder / MANIFEST)).hexdigest()


def check_schema(version: int, path: Path) -> None:
    """Checks the version of a manifest's schema.

    Raises:
        ForeignManifestError: it is another version; the message says what to do.
    """
    if version != SCHEMA:
        raise ForeignManifestError(
            f"{path} has schema {version}, this version reads schema {SCHEMA}: "
            "use the version of pytorch-workflow that made it"
        )
