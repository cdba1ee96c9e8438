"""The manifest of a run (run.json): enough to know how every artifact came about, and to repeat the run."""

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

#: Name of the report beside it, which the manifest cannot name either, since it is made of it.
REPORT = "report.html"

#: Raised when the form of a manifest changes. A newer one is refused; see `Manifest.read`.
SCHEMA = 1


class ManifestError(Exception):
    """A manifest cannot be read."""


class ForeignManifestError(ManifestError):
    """A manifest is of another schema: another version of this project made it."""


def is_moment(text: str) -> str:
    """Checks that a text is a moment in UTC: the newest runs of an experiment are those with the last ones.

    Raises:
        ValueError: it is none.
    """
    if datetime.fromisoformat(text).utcoffset() != timedelta(0):
        raise ValueError("is no moment in UTC")
    return text


#: The path of a file inside a run folder.
RunFile = Annotated[str, Field(pattern=rf"^{FILE}(/{FILE})?$")]


class Part(BaseModel):
    """What the parts of a manifest share: they are frozen, and unknown keys are refused."""

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
        """Whether the path is one under which a stage publishes an artifact of this digest and kind."""
        folder, _, name = self.path.rpartition("/")
        return folder == artifact_folder(stage, self.kind) and name.endswith(f"-{self.digest}.{self.kind}")


class StageEntry(Part):
    """A stage of the run: its key, whether it ran or was reused and why, its seconds, and its artifacts."""

    name: str = Field(pattern=rf"^{NAME}$")
    key: str = Field(pattern=rf"^{SHA256}$")
    status: RunStatus
    reasons: list[str]
    seconds: float | None
    outputs: dict[str, ArtifactEntry]

    @classmethod
    def of(cls, report: StageReport) -> Self:
        """The entry for what became of a stage."""
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
    """Where the run took place.

    Attributes:
        device: that the model was trained on, resolved: for example cpu or cuda:0.
        device_note: why the device is another than was hoped for; empty otherwise.
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
    """Shows that an experiment has the form of one, whatever its settings may be: a name, and single values by name.

    Raises:
        ValueError: it has another form.
    """
    if not isinstance(name := experiment.get("name"), str):
        raise ValueError("it has no name")
    if not re.fullmatch(NAME, name):
        raise ValueError("its name is not a valid name of an experiment")
    for name, value in experiment.items():
        for single in value.values() if isinstance(value, dict) else (value,):
            if not isinstance(single, str | int | float | None):
                raise ValueError(f"{name} holds something that is no setting")
    return experiment


class Form(BaseModel):
    """The schema of a manifest, which is known before anything else of it is."""

    schema_version: int = SCHEMA


class Manifest(Part):
    """Everything about one run.

    Attributes:
        schema_version: of the manifest's form.
        run: name of the run and of its folder.
        created: when, in UTC, ISO 8601.
        checkpoint: file name of the checkpoint in the run folder.
        experiment: the whole configuration, as it ran: with its device resolved and its threads counted.
        seed: of the model.
        environment: where it took place.
        stages: in order, with the last, save, still "running" while it writes this.
        files: what the run folder holds beside the manifest and the report, by name.
    """

    schema_version: int = SCHEMA
    run: str = Field(pattern=rf"^{RUN}$")
    created: Annotated[str, AfterValidator(is_moment)]
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
        """A run is judged by the files in its own folder, and by artifacts where its stages publish them."""
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
            ForeignManifestError: it is of another schema; the message says what to do.
            ManifestError: there is none, it is damaged, or it is that of another run; likewise.
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
            check_schema(Form.model_validate(fields).schema_version, path)
            manifest = cls.model_validate(fields)
            if manifest.run != folder.resolve().name:
                raise ValueError(f"it is that of run {manifest.run}")
            return manifest
        except ValidationError as error:
            raise ManifestError(f"{path} is damaged ({describe(error)}): train again to make a new run") from error
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

    def artifact(self, stage: str, name: str) -> Reference:
        """The reference to an artifact that a stage of the run made.

        Raises:
            ManifestError: the manifest does not name it.
        """
        outputs = self.stage(stage).outputs
        if name not in outputs:
            raise ManifestError(f"the manifest of run {self.run} does not name {name} of stage {stage}")
        return outputs[name].reference()

    def stage(self, name: str) -> StageEntry:
        """The entry of a stage.

        Raises:
            ManifestError: the run has no such stage.
        """
        for entry in self.stages:
            if entry.name == name:
                return entry
        raise ManifestError(f"run {self.run} has no stage {name}")


def describe(error: ValidationError) -> str:
    """The first problem of a manifest: its field, if it is about a single one, and what is wrong."""
    first = error.errors()[0]
    field, message = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
    shown = field if field.isprintable() else ascii(field)
    return f"{shown}: {message}" if field else message


def manifest_digest(folder: Path) -> str:
    """SHA-256 of the manifest in a run folder, 64 hexadecimal digits: it stands for the run, whose files it names.

    Raises:
        OSError: it cannot be read.
        UnusableFileError: it is no plain file, or larger than any manifest.
    """
    return hashlib.sha256(read_file(folder / MANIFEST)).hexdigest()


def check_schema(version: int, path: Path) -> None:
    """Refuses a manifest of another schema.

    Raises:
        ForeignManifestError: always if so; the message says what to do.
    """
    if version != SCHEMA:
        raise ForeignManifestError(
            f"{path} has schema {version}, this version reads schema {SCHEMA}: "
            "use the version of pytorch-workflow that made it"
        )
