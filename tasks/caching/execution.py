"""Runs the function of a stage, and returns the record of it."""

import importlib
import importlib.util
import time
from collections.abc import Iterable, Mapping
from typing import Any

from tasks.caching.decision import edited_meanwhile
from tasks.caching.interruption import postponed_interruption
from tasks.caching.key import StageCall
from tasks.caching.records import Record
from tasks.caching.stage import RUN_FILES, Stage, StageContext
from tasks.caching.storage.reference import Reference


def perform(call: StageCall, context: StageContext) -> Record:
    """Runs the function of a stage, and returns the record of it.

    Raises:
        DamagedArtifactError: an input is missing or altered, before the function ran or afterwards.
        ExternalInputError: an external input changed meanwhile.
    """
    started = time.perf_counter()
    import_libraries(call.stage.libraries)
    outputs = call.stage.function(call.config, call.inputs, context)
    _check_outputs(call.stage, outputs)
    for reference in call.inputs.values():
        # An input that changed while the stage read it must not be cached under the old input's key.
        context.store.path(reference)
    for file in call.external.values():
        file.require_same_content()
    if edited := edited_meanwhile(call.stage):
        context.notice(edited)
    seconds = round(time.perf_counter() - started, 6)
    return Record(call.stage.name, call.key, call.ingredients, dict(outputs), seconds)


def import_libraries(names: Iterable[str]) -> None:
    """Imports the libraries of a stage; Ctrl-C, SIGTERM and SIGHUP wait until this is done.

    Torch calls Python from C++ while it is imported: an exception that a signal raises there aborts the process.

    Args:
        names: of distributions. One whose module has another name is skipped; another library imports it.
    """
    with postponed_interruption():
        for name in names:
            if importlib.util.find_spec(name) is not None:
                importlib.import_module(name)


def _check_outputs(stage: Stage[Any], outputs: Mapping[str, Reference]) -> None:
    declared = {name.removesuffix("?") for name in stage.outputs}
    if RUN_FILES in declared:
        declared |= outputs.keys()
    required = {name for name in stage.outputs if not name.endswith("?")} - {RUN_FILES}
    if not required <= outputs.keys() <= declared:
        raise RuntimeError(f"stage {stage.name} must make {sorted(declared)}, but made {sorted(outputs)}")
