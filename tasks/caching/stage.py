"""What a stage is: a function, its inputs and outputs, and what shapes its result."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from tasks.caching.code.dynamic import require_plain
from tasks.caching.interruption import postponed_interruption, require_uninterrupted
from tasks.caching.reasons import Reason, RunStatus
from tasks.caching.storage.durable import Content
from tasks.caching.storage.reference import Outputs, Pending, Reference
from tasks.caching.storage.stage_checkpoints import StageCheckpointer, StageCheckpoints
from tasks.caching.storage.store import Store


class StageConfig(BaseModel):
    """The part of an experiment that a stage may see, in the shape of the experiment.

    A stage gets its config and nothing else of the experiment, and the config is part of its key. So nothing outside
    the key can shape the result.

    Attributes:
        immaterial: dotted names of settings that the stage sees but that do not change its result. They are left out
            of its key.
        writes_settings: whether the stage writes its settings into its outputs. Then each setting that is not at its
            default shapes the result, even if it matters to nothing else (`MattersIf`).
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    immaterial: ClassVar[frozenset[str]] = frozenset()
    writes_settings: ClassVar[bool] = False


#: Among the inputs of a stage: all that the stages before it keep in the run folder, by the names of the files there.
RUN_FILES = "*"

C = TypeVar("C", bound=StageConfig)

#: Stands in every key for the code of `tasks.caching`. Raise it by hand when a change there makes stages publish other
#: bytes for the same settings, inputs and code; a test fails for every change there until this was considered.
FORMAT = 2


#: Called now and then with how far a stage has come: steps done, steps in all, and its newest figures by name.
Progress = Callable[[int, int, Mapping[str, float]], None]


@dataclass(frozen=True)
class StageReport:
    """What became of a stage in a run.

    Attributes:
        name: the stage.
        key: of its record; empty for a stage that is never cached.
        status: `running` for the stage that asks.
        reasons: why it ran, or why it did not have to.
        seconds: it took to compute, in this run or in the earlier one that is reused; None while it runs.
        outputs: its artifacts.
    """

    name: str
    key: str
    status: RunStatus
    reasons: tuple[Reason, ...]
    seconds: float | None = None
    outputs: Outputs = field(default_factory=dict)


@dataclass(frozen=True)
class StageContext:
    """What a stage works with: the store for its artifacts, and callbacks that report its progress.

    Attributes:
        stage: the name of the stage.
        store: where artifacts lie.
        progress: reports how far the stage has come.
        notice: passes a message on to people, such as from where a training resumes.
        stage_checkpoints: what the stage keeps to resume from after it was killed; None where it cannot keep any, as
            in a stage that is never cached.
        external: the paths of the files outside the store that it reads, by the names that it declares.
        lineage: what became of the stages before it in this run, and last its own report, still "running". It is meant
            for the manifest. It is no part of the key, so it must not shape any other artifact.
        resume: called when the stage resumes from a stage checkpoint of an earlier run: with its step, and in words
            where that is.
    """

    stage: str
    store: Store
    progress: Progress = lambda done, total, figures: None
    notice: Callable[[str], None] = lambda text: None
    stage_checkpoints: StageCheckpoints | None = None
    external: Mapping[str, Path] = field(default_factory=dict)
    lineage: tuple[StageReport, ...] = ()
    resume: Callable[[int, str], None] = lambda step, where: None

    @contextlib.contextmanager
    def resumable(self) -> Iterator[StageCheckpointer | None]:
        """Yields what keeps stage checkpoints of the work inside, and has those of an earlier run that was killed.

        Yields None for a stage that keeps none. Ctrl-C, SIGTERM and SIGHUP wait until the work has kept one.
        """
        if self.stage_checkpoints is None:
            yield None
            return
        require_uninterrupted()
        with postponed_interruption() as is_interrupted:
            yield StageCheckpointer(self.stage_checkpoints, self.notice, is_interrupted, self.resume)

    def publish(self, name: str, content: Content) -> Reference:
        """Publishes an artifact of this stage; see `Store.publish`."""
        return self.store.publish(self.stage, name, content)


#: The work of a stage: takes its config and its inputs, publishes its outputs, returns references to them.
StageFunction = Callable[[C, Mapping[str, Reference], StageContext], Outputs]


def always(config: StageConfig) -> bool:
    """Whether a stage takes part that is part of every run."""
    return True


@dataclass(frozen=True)
class Stage(Generic[C]):
    """One step of a flow.

    Attributes:
        function: does the work.
        config_type: the part of the experiment that it sees.
        inputs: names of the artifacts that it takes from the stages before; one that ends in "?" may be absent. With
            `RUN_FILES` among them, it takes all that those stages keep in the run folder.
        outputs: names of the artifacts that it makes; likewise. `RUN_FILES` stands for the files of the run folder.
        libraries: distributions whose version shapes its result.
        loads: modules of the project that it loads by names that are computed, which the code does not show.
        external: files outside the store that it reads, such as a table that people edit: by name, what gives the
            absolute path of one by the stage's config; None for none. Their content is in its key.
        run_files: its outputs that each run keeps in its folder, with the names of their files there.
        takes_part: whether it takes part in a run, by its config: two stages can make the same outputs, each for other
            settings. One that does not makes nothing.
        schema: raised by hand when its outputs change in a way that the code does not show.
        cached: whether its result may be reused; a verification, for example, has to run every time.
    """

    function: StageFunction[C]
    config_type: type[C]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    libraries: tuple[str, ...]
    loads: tuple[str, ...] = ()
    external: Mapping[str, Callable[[C], Path | None]] = field(default_factory=dict, hash=False)
    run_files: Mapping[str, str] = field(default_factory=dict, hash=False)
    takes_part: Callable[[C], bool] = field(default=always, hash=False)
    schema: int = 1
    cached: bool = True

    @property
    def name(self) -> str:
        """The stage's name, a verb: that of its function."""
        return self.function.__name__

    def takes_part_with(self, settings: BaseModel) -> bool:
        """Whether it takes part in a run with these settings, of which its config is a part."""
        return self.takes_part is always or self.takes_part(self.config_type.model_validate(settings.model_dump()))

    def external_paths(self, config: C) -> dict[str, Path]:
        """The files outside the store that it reads, by name."""
        found = {name: path_of(config) for name, path_of in self.external.items()}
        return {name: path for name, path in found.items() if path is not None}

    def pending(self) -> dict[str, Pending]:
        """Its outputs as long as they are not made."""
        return {name.removesuffix("?"): Pending(self.name) for name in self.outputs if name != RUN_FILES}


def stage(
    config_type: type[C],
    *,
    inputs: tuple[str, ...] = (),
    outputs: tuple[str, ...],
    libraries: tuple[str, ...],
    loads: tuple[str, ...] = (),
    external: Mapping[str, Callable[[C], Path | None]] | None = None,
    run_files: Mapping[str, str] | None = None,
    takes_part: Callable[[C], bool] = always,
    cached: bool = True,
) -> Callable[[StageFunction[C]], Stage[C]]:
    """Declares a function to be a stage; see `Stage` for the arguments.

    Raises:
        UnseenCodeError: the function was made by a decorator or by another function.
        ValueError: an external input has the name of another input.
    """

    def declare(function: StageFunction[C]) -> Stage[C]:
        for name in {name.removesuffix("?") for name in inputs} & (external or {}).keys():
            raise ValueError(f"stage {function.__name__} has two inputs {name!r}")
        require_plain(function)
        return Stage(
            function,
            config_type,
            inputs,
            outputs,
            libraries,
            loads,
            external or {},
            run_files or {},
            takes_part,
            cached=cached,
        )

    return declare


#: What a flow's wiring calls with a stage and the outputs of those before it, and which returns the stage's outputs:
#: it runs the stage, or reuses its record, or only plans to. Of a stage that does not take part there are no outputs.
Run = Callable[..., Mapping[str, Any]]


def stages(pipeline: Callable[[Run], object]) -> list[Stage[Any]]:
    """The stages of a flow, in the order of its wiring."""
    found: list[Stage[Any]] = []

    def note(stage: Stage[Any], /, *upstream: Mapping[str, Any]) -> Mapping[str, Any]:
        found.append(stage)
        return {}

    pipeline(note)
    return found
