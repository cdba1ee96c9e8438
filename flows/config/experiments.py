"""Experiments from presets, TOML files and the command line."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from flows.config.schedule import Schedule
from flows.config.toml_file import ExcessError, read_toml
from flows.errors import InputError, list_problems
from tasks.learning.config.data import DEFAULT_KIND
from tasks.learning.config.devices import resolve_device, thread_count
from tasks.learning.config.experiment import Experiment
from tasks.learning.config.training import SettledTraining, Training

#: The experiments that ship with the project.
PRESETS = Path(__file__).parents[1] / "presets"


def preset_names() -> list[str]:
    """Names of the presets, in order."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


class ExperimentFile(Experiment):
    """What a file may hold: an experiment, and when it is trained by itself."""

    schedule: Schedule | None = None


def load_experiment(source: str, changes: Mapping[str, Any] | None = None) -> Experiment:
    """An experiment from a preset or a TOML file, with single fields changed; see `load_file`."""
    return load_file(source, changes)[0]


def load_file(source: str, changes: Mapping[str, Any] | None = None) -> tuple[Experiment, Schedule]:
    """An experiment from a preset or a TOML file, with single fields changed, and its schedule.

    Args:
        source: a preset's name, or the path of a TOML file.
        changes: nested like the file; each takes the place of the file's value.

    Raises:
        InputError: no such preset or file, no TOML, or not a valid experiment; with all problems in one message.
    """
    path = find_source(source)
    settings = with_absolute_path(read_settings(path), path.absolute().parent)
    if path.parent != PRESETS:
        settings.setdefault("name", path.stem)
    try:
        file = ExperimentFile.model_validate(merge(settings, with_absolute_path(changes or {}, Path.cwd())))
    except ValidationError as error:
        raise list_problems(error, source) from error
    return Experiment.model_validate(file.model_dump(exclude={"schedule"})), file.schedule or Schedule()


def find_source(source: str) -> Path:
    """The TOML file behind a preset's name or a path.

    Raises:
        InputError: there is none.
    """
    if source in preset_names():
        return PRESETS / f"{source}.toml"
    path = Path(source)
    if path.suffix != ".toml":
        choices = ", ".join(preset_names())
        raise InputError(f"there is no preset {source!r}: choose one of {choices}, or give the path of a .toml file")
    if not os.path.isfile(path):  # noqa: PTH113 - unlike Path.is_file, it takes a name that is too long for no file
        raise InputError(f"there is no file {source}")
    return path


def read_settings(path: Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        InputError: it cannot be read or is no TOML; names the line and column where TOML's rules are broken.
    """
    try:
        return read_toml(path)
    except ExcessError as error:
        raise InputError(f"{path} is no TOML of an experiment: {error}") from error
    except ValueError as error:  # of TOML, of UTF-8, or of a number with too many digits
        raise InputError(f"{path} is no TOML: {error}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def with_absolute_path(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Settings in which `data.path` is absolute; a relative one starts at a folder."""
    data = settings.get("data")
    if not (isinstance(data, Mapping) and isinstance(data.get("path"), str) and data["path"]):
        return dict(settings)
    return {**settings, "data": {**data, "path": os.path.normpath(folder / data["path"])}}


def merge(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings with some values changed; neither argument is touched.

    Where the changes ask for another kind of dataset, all settings of the old kind are left out.
    """
    merged = dict(settings)
    for name, value in changes.items():
        old = merged.get(name)
        merged[name] = value
        if isinstance(old, dict) and isinstance(value, dict) and not (name == "data" and is_other(old, value)):
            merged[name] = merge(old, value)
    return merged


def is_other(data: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
    """Whether changes of the data section ask for another kind of dataset."""
    before = data.get("kind", DEFAULT_KIND)
    return bool(changes.get("kind", before) != before)


class SettledExperiment(Experiment):
    """An experiment as it will run on this machine: its device is resolved and its threads are counted.

    Attributes:
        device_asked_for: the device that was asked for, which may have been `auto`.
    """

    device_asked_for: str
    training: SettledTraining


def place(experiment: Experiment, device: str | None) -> Experiment:
    """The experiment on another device; on its own if none is given."""
    if device is None:
        return experiment
    training = Training.model_validate(experiment.training.model_dump() | {"device": device})
    return experiment.model_copy(update={"training": training})


def settle(experiment: Experiment) -> SettledExperiment:
    """The experiment as it will run on this machine.

    Raises:
        InputError: the device that it names is not there.
    """
    settings = experiment.model_dump()
    requested = experiment.training.device
    settings["training"] |= {"device": require_device(experiment), "threads": thread_count(experiment.training.threads)}
    rows = experiment.data.row_count
    if rows is not None and experiment.training.batch_size == experiment.split.sizes(rows)["train"]:
        settings["training"]["batch_size"] = None  # a batch of all rows is a full batch, in whichever order
    return SettledExperiment(device_asked_for=requested, **settings)


def require_device(experiment: Experiment) -> str:
    """The device of an experiment as it is here, for a command that is to refuse it before it starts a server.

    Raises:
        InputError: it is not there.
    """
    try:
        return resolve(experiment.training.device)
    except InputError as error:
        raise InputError(f"training.device: {error}") from error


def resolve(device: str) -> str:
    """The device that a setting such as `auto` stands for on this machine.

    Raises:
        InputError: it is not there, or it is no device.
    """
    try:
        return resolve_device(device)
    except ValueError as error:
        raise InputError(str(error)) from error
