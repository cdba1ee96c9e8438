import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from tasks.caching import key
from tasks.caching.decision import (
    NEVER_CACHED,
    Decision,
    Planner,
    Walk,
    edited_meanwhile,
    examine,
    is_forced,
)
from tasks.caching.key import stage_call
from tasks.caching.reasons import Reason, ReasonKind
from tasks.caching.records import Record, find_record, last_file, record_name, remember_last
from tasks.caching.stage import RUN_FILES, Run, Stage, StageConfig, StageContext, stage
from tasks.caching.storage.durable import replace_file
from tasks.caching.storage.reference import Expected, Outputs, Pending, Reference
from tasks.caching.storage.store import Store


class Settings(BaseModel):
    rows: int = 9
    note: str = ""
    validation: bool = True
    rate: float = 0.1


class MakeConfig(StageConfig):
    rows: int
    note: str


class DivideConfig(StageConfig):
    validation: bool


class FitConfig(StageConfig):
    rate: float


def publish(context: StageContext, name: str, text: str) -> dict[str, Reference]:
    return {name: context.publish(f"{name}.json", lambda file: file.write(text.encode()))}


@stage(MakeConfig, outputs=("table",), libraries=())
def make(config: MakeConfig, inputs: Mapping[str, Reference], context: StageContext) -> Outputs:
    return publish(context, "table", f"{config.rows} rows")


@stage(DivideConfig, inputs=("table",), outputs=("train", "validation?"), libraries=("pydantic",))
def divide(config: DivideConfig, inputs: Mapping[str, Reference], context: StageContext) -> Outputs:
    table = context.store.read(inputs["table"]).decode()
    return publish(context, "train", f"most of {table}") | (
        publish(context, "validation", f"some of {table}") if config.validation else {}
    )


@stage(FitConfig, inputs=("train", "validation?"), outputs=("weights",), libraries=())
def fit(config: FitConfig, inputs: Mapping[str, Reference], context: StageContext) -> Outputs:
    return publish(
        context, "weights", f"{config.rate} {[context.store.read(inputs[name]).decode() for name in sorted(inputs)]}"
    )


@stage(FitConfig, inputs=("weights",), outputs=("proof",), libraries=(), cached=False)
def prove(config: FitConfig, inputs: Mapping[str, Reference], context: StageContext) -> Outputs:
    raise NotImplementedError


prove.function.__module__ = "tasks.generate"  # stands for a stage of the project


def pipeline(run: Run) -> Expected:
    table = run(make)
    parts = run(divide, table)
    return run(fit, table, parts)


class SimpleRun:
    """Runs a pipeline as the real run does, without Prefect; notes which stages ran."""

    def __init__(self, store: Store, settings: BaseModel, experiment: str = "line") -> None:
        self.store, self.settings, self.experiment = store, settings, experiment
        self.ran: list[str] = []
        self.walk = Walk()

    def __call__(self, stage: Stage[Any], /, *upstream: Mapping[str, Any]) -> Expected:
        call = stage_call(stage, self.settings, self.walk.take(stage, upstream))
        record, _ = examine(call, self.experiment, self.store)
        if record is None:
            self.ran.append(stage.name)
            outputs = stage.function(call.config, call.inputs, StageContext(stage.name, self.store))
            record = Record(stage.name, call.key, call.ingredients, outputs, 1.5)
            content = json.dumps({"result": record.to_json().decode()}).encode()
            replace_file(self.store.records / record_name(call), content)
        remember_last(self.experiment, call, self.store)
        return record.outputs


def run(store: Store, experiment: str = "line", **settings: Any) -> list[str]:
    """Runs the pipeline; returns the names of the stages that really ran."""
    runner = SimpleRun(store, Settings(**settings), experiment)
    pipeline(runner)
    return runner.ran


def plan(
    store: Store,
    experiment: str = "line",
    refresh: frozenset[str] = frozenset(),
    until: str | None = None,
    **settings: Any,
) -> dict[str, Decision]:
    """What would become of each stage, by its name."""
    planner = Planner(experiment, Settings(**settings), store, refresh, until)
    pipeline(planner)
    return {decision.stage: decision for decision in planner.decisions}


def why(decision: Decision) -> tuple[str, ...]:
    """The reasons in words."""
    return tuple(map(str, decision.reasons))


def statuses(decisions: dict[str, Decision]) -> list[str]:
    return [decision.status for decision in decisions.values()]


def tree(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}


def artifact(store: Store, decision: Decision, name: str) -> Path:
    reference = decision.outputs[name]
    assert isinstance(reference, Reference)
    return store.root / reference.path


@pytest.fixture(autouse=True)
def code(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The code of the stages; a test changes it here."""
    places = {"tasks/steps.py: step": "0"}
    monkeypatch.setattr(key, "fingerprint", lambda module, name, **options: dict(places))
    return places


class TestStatus:
    def test_at_first_the_first_stage_will_run_and_the_others_depend_on_those_before(self, store: Store) -> None:
        assert plan(store) == {
            "make": Decision("make", "will run", (Reason(ReasonKind.FIRST_RUN, "line"),), {"table": Pending("make")}),
            "divide": Decision(
                "divide",
                "depends",
                (Reason(ReasonKind.DEPENDS, "make"),),
                {"train": Pending("divide"), "validation": Pending("divide")},
            ),
            "fit": Decision("fit", "depends", (Reason(ReasonKind.DEPENDS, "divide"),), {"weights": Pending("fit")}),
        }

    def test_after_a_run_every_stage_is_reused_with_its_artifacts_and_the_time_it_took(self, store: Store) -> None:
        run(store)
        decisions = plan(store)
        assert statuses(decisions) == ["reused"] * 3
        assert {(why(decision), decision.seconds) for decision in decisions.values()} == {(("unchanged",), 1.5)}
        assert artifact(store, decisions["divide"], "train").read_bytes() == b"most of 9 rows"

    @pytest.mark.parametrize("settings", [{}, {"rate": 0.2}, {"rows": 8}, {"note": "x"}, {"validation": False}])
    def test_what_is_planned_to_run_runs_and_what_is_planned_to_be_reused_does_not(
        self, store: Store, settings: dict[str, Any]
    ) -> None:
        run(store)
        decisions = plan(store, **settings)
        ran = run(store, **settings)
        for name, decision in decisions.items():
            assert decision.status == "depends" or (decision.status == "will run") == (name in ran)

    def test_a_plan_runs_nothing_and_writes_nothing(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        run(store)
        before = tree(store.root)
        for settings in ({}, {"rows": 8}, {"rate": 0.2}):
            plan(store, **settings)
            plan(store, "another", frozenset({"all"}), "divide", **settings)
        assert tree(store.root) == before

    def test_a_plan_makes_not_even_the_folders_of_an_empty_store(self, store: Store) -> None:
        plan(store)
        assert not store.root.exists()

    def test_a_stage_that_is_never_cached_runs_each_time(self, store: Store) -> None:
        run(store)
        planner = Planner("line", Settings(), store)
        outputs = planner(prove, pipeline(planner))
        assert planner.decisions[-1] == Decision("prove", "will run", NEVER_CACHED, {"proof": Pending("prove")})
        assert outputs == {"proof": Pending("prove")}


class TestEarlyCutOff:
    def test_what_follows_a_change_depends_and_is_reused_if_the_bytes_stay_the_same(self, store: Store) -> None:
        run(store)
        assert statuses(plan(store, note="new words")) == ["will run", "depends", "depends"]
        assert run(store, note="new words") == ["make"]

    def test_what_follows_a_change_runs_if_the_bytes_change(self, store: Store) -> None:
        run(store)
        assert statuses(plan(store, rows=8)) == ["will run", "depends", "depends"]
        assert run(store, rows=8) == ["make", "divide", "fit"]

    def test_a_change_in_the_middle_leaves_what_comes_before(self, store: Store) -> None:
        run(store)
        assert statuses(plan(store, rate=0.2)) == ["reused", "reused", "will run"]
        assert run(store, rate=0.2) == ["fit"]

    def test_going_back_finds_what_was_computed_before(self, store: Store) -> None:
        run(store)
        run(store, rate=0.2)
        assert why(plan(store)["fit"]) == ("computed before",)
        assert run(store) == []
        assert why(plan(store)["fit"]) == ("unchanged",)

    def test_another_experiment_finds_what_it_shares(self, store: Store) -> None:
        run(store)
        decisions = plan(store, "curve", rate=0.2)
        assert [why(decision) for decision in decisions.values()] == [
            ("computed before",),
            ("computed before",),
            ("first run of curve",),
        ]


class TestForcing:
    def test_a_forced_stage_runs_though_cached_and_those_after_it_depend(self, store: Store) -> None:
        run(store)
        decisions = plan(store, refresh=frozenset({"divide"}))
        assert statuses(decisions) == ["reused", "will run", "depends"]
        assert why(decisions["divide"]) == ("forced",)

    def test_all_can_be_forced(self, store: Store) -> None:
        run(store)
        decisions = plan(store, refresh=frozenset({"all"}))
        assert [(decision.status, why(decision)) for decision in decisions.values()] == [("will run", ("forced",))] * 3

    @pytest.mark.parametrize(
        ("refresh", "forced"), [(set(), False), ({"fit"}, True), ({"all"}, True), ({"make", "fits"}, False)]
    )
    def test_a_stage_is_forced_by_its_name_or_by_all(self, refresh: set[str], forced: bool) -> None:
        assert is_forced(fit, frozenset(refresh)) is forced


class TestUntil:
    @pytest.mark.parametrize("ran_before", [True, False])
    def test_nothing_after_it_is_reached(self, store: Store, ran_before: bool) -> None:
        if ran_before:
            run(store)
        decisions = plan(store, until="make")
        assert statuses(decisions)[1:] == ["not reached", "not reached"]
        assert decisions["fit"] == Decision(
            "fit", "not reached", (Reason(ReasonKind.NOT_REACHED, "make"),), {"weights": Pending("fit")}
        )

    def test_it_is_reached_itself(self, store: Store) -> None:
        assert statuses(plan(store, until="divide")) == ["will run", "depends", "not reached"]

    def test_not_even_a_forced_stage_is_reached_after_it(self, store: Store) -> None:
        assert statuses(plan(store, until="make", refresh=frozenset({"all"})))[1:] == ["not reached", "not reached"]


class TestOptionalInputs:
    def test_a_part_that_goes_is_a_reason(self, store: Store) -> None:
        run(store)
        run(store, "other", validation=False)
        reasons = why(plan(store, validation=False)["fit"])
        assert reasons == ("computed before",)
        remove_record(store, "fit", validation=False)
        assert why(plan(store, validation=False)["fit"]) == ("input validation removed",)

    def test_a_part_that_comes_is_a_reason(self, store: Store) -> None:
        run(store, validation=False)
        run(store, "other")
        remove_record(store, "fit")
        assert why(plan(store)["fit"]) == ("input validation added",)

    def test_an_absent_one_is_left_out(self) -> None:
        assert Walk().take(fit, [{"train": 1, "table": 3}]) == {"train": 1}

    def test_a_present_one_is_taken(self) -> None:
        assert Walk().take(fit, [{"train": 1}, {"validation": 2}]) == {"train": 1, "validation": 2}

    def test_any_other_must_be_there(self) -> None:
        with pytest.raises(LookupError, match="stage fit takes 'train', which no stage before it makes"):
            Walk().take(fit, [{"validation": 2}])


class TestRunFiles:
    """What stages keep in the run folder goes to the stage that saves it, by the name of its file."""

    KEEPING = replace(fit, run_files={"weights": "weights.bin", "curve": "plots/curve.svg"})
    SAVING = replace(fit, inputs=("table", RUN_FILES))

    def test_it_is_taken_by_its_file_by_the_stage_that_takes_run_files(self) -> None:
        walk = Walk()
        walk.take(self.KEEPING, [{"train": 0}])
        made = {"weights": 2, "curve": 3, "more": 4}
        assert walk.take(self.SAVING, [{"table": 1}, made]) == {"table": 1, "weights.bin": 2, "plots/curve.svg": 3}

    def test_what_is_not_wired_into_that_stage_is_not_taken(self) -> None:
        walk = Walk()
        walk.take(self.KEEPING, [{"train": 0}])
        assert walk.take(self.SAVING, [{"table": 1}]) == {"table": 1}

    def test_no_other_stage_takes_it_so(self) -> None:
        walk = Walk()
        walk.take(self.KEEPING, [{"train": 0}])
        assert walk.take(fit, [{"train": 0}, {"weights": 2}]) == {"train": 0}

    def test_two_stages_may_not_keep_one_file(self) -> None:
        walk = Walk()
        walk.take(self.KEEPING, [{"train": 0}])
        with pytest.raises(LookupError, match=r"stage fit keeps weights\.bin in the run folder, as fit does"):
            walk.take(self.KEEPING, [{"train": 0}])

    def test_what_it_has_to_be_called_is_part_of_the_key(self, store: Store) -> None:
        made = {"weights": Reference.of_content("artifacts/fit/weights.bin", b"weights")}
        keys = set()
        for file in ("weights.bin", "model.bin"):
            walk = Walk()
            walk.take(replace(fit, run_files={"weights": file}), [{"train": 0}])
            keys.add(
                stage_call(self.SAVING, Settings(), walk.take(self.SAVING, [{"table": made["weights"]}, made])).key
            )
        assert len(keys) == 2

    def test_what_it_makes_of_them_is_not_known_before(self) -> None:
        assert replace(fit, outputs=("weights", "log?", RUN_FILES)).pending() == {
            "weights": Pending("fit"),
            "log": Pending("fit"),
        }


def record_path(store: Store, name: str, **settings: Any) -> Path:
    """Where the record of a stage lies that the pipeline ran with these settings."""
    paths = []
    walk = Walk()

    def find(stage: Stage[Any], /, *upstream: Mapping[str, Any]) -> Expected:
        call = stage_call(stage, Settings(**settings), walk.take(stage, upstream))
        if stage.name == name:
            paths.append(store.records / record_name(call))
        record = find_record(call, store)
        assert record is not None
        return record.outputs

    pipeline(find)
    return paths[0]


def remove_record(store: Store, name: str, **settings: Any) -> None:
    record_path(store, name, **settings).unlink()


class TestReasons:
    def test_a_setting(self, store: Store) -> None:
        run(store)
        assert why(plan(store, rate=0.2)["fit"]) == ("rate 0.1 → 0.2",)

    def test_a_library(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(key, "version", lambda library: "1")
        run(store)
        monkeypatch.setattr(key, "version", lambda library: "2" if library == "pydantic" else "1")
        decisions = plan(store)
        assert statuses(decisions) == ["reused", "will run", "depends"]
        assert why(decisions["divide"]) == ("pydantic 1 → 2",)

    def test_code(self, store: Store, code: dict[str, str]) -> None:
        run(store)
        code["tasks/steps.py: step"] = "1"
        key.code_of.cache_clear()  # as in a new process
        assert why(plan(store)["make"]) == ("tasks/steps.py: step changed",)

    def test_an_input(self, store: Store) -> None:
        run(store)
        run(store, "other", rows=8)
        remove_record(store, "fit", rows=8)
        assert why(plan(store, rows=8)["fit"]) == ("input train changed", "input validation changed")

    def test_what_changed_besides_is_reported_of_a_stage_that_has_to_wait(self, store: Store) -> None:
        run(store)
        assert why(plan(store, rows=8, rate=0.2)["fit"]) == ("depends on the outcome of divide", "rate 0.1 → 0.2")

    def test_another_format_of_the_cache_is_reported_once(self, store: Store) -> None:
        run(store)
        remove_record(store, "make")
        for name in ("make", "divide", "fit"):
            last_file("line", name, store).write_text('{"cache": 1}')
        assert [why(decision) for decision in plan(store).values()] == [
            ("the cache's format changed",),
            ("depends on the outcome of make",),
            ("depends on the outcome of divide",),
        ]

    def test_several_that_a_stage_waits_for_are_each_reported_once(self, store: Store) -> None:
        both = replace(fit, inputs=("table", "train", "validation"))
        planner = Planner("line", Settings(), store)
        table = planner(make)
        planner(both, table, planner(divide, table))
        assert why(planner.decisions[-1]) == ("depends on the outcome of make, divide",)

    @pytest.mark.parametrize(
        ("damage", "reason"),
        [
            (Path.unlink, "artifact missing: artifacts/divide/train-"),
            (lambda path: path.write_bytes(b""), "artifact altered: artifacts/divide/train-"),
            (lambda path: path.write_bytes(b"MOST OF 9 ROWS"), "artifact altered: artifacts/divide/train-"),
        ],
    )
    def test_a_damaged_artifact_is_made_again_and_heals(
        self, store: Store, damage: Callable[[Path], object], reason: str
    ) -> None:
        run(store)
        damage(artifact(store, plan(store)["divide"], "train"))
        decisions = plan(Store(store.root))
        assert statuses(decisions) == ["reused", "will run", "depends"]
        assert why(decisions["divide"])[0].startswith(reason)
        assert run(Store(store.root)) == ["divide"]
        assert statuses(plan(Store(store.root))) == ["reused"] * 3

    def test_a_missing_record(self, store: Store) -> None:
        run(store)
        remove_record(store, "divide")
        assert why(plan(store)["divide"]) == ("record missing",)
        assert run(store) == ["divide"]

    @pytest.mark.parametrize("content", [b"", b"{", b'{"result": "{}"}', b"\xff"])
    def test_an_unreadable_record_is_made_again_and_heals(self, store: Store, content: bytes) -> None:
        run(store)
        record_path(store, "divide").write_bytes(content)
        decisions = plan(store)
        assert statuses(decisions) == ["reused", "will run", "depends"]
        assert why(decisions["divide"])[0].startswith("record unreadable: ")
        assert run(store) == ["divide"]
        assert statuses(plan(store)) == ["reused"] * 3

    def test_the_record_of_another_key(self, store: Store) -> None:
        run(store)
        path = record_path(store, "fit")
        run(store, rate=0.2)
        path.write_bytes(record_path(store, "fit", rate=0.2).read_bytes())
        decision = plan(store)["fit"]
        assert (decision.status, why(decision)) == ("will run", ("record unreadable: it belongs to another key",))

    def test_forgotten_last_ingredients_cost_the_reason_only(self, store: Store) -> None:
        run(store)
        last_file("line", "fit", store).write_bytes(b"{")
        assert (plan(store)["fit"].status, why(plan(store)["fit"])) == ("reused", ("computed before",))
        assert why(plan(store, rate=0.2)["fit"]) == ("first run of line",)


def test_code_that_was_edited_under_a_running_process_is_noticed(
    code: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert edited_meanwhile(make) == ""
    monkeypatch.setattr(key, "fingerprint", lambda module, name, **options: {**code, "tasks/steps.py: step": "1"})
    assert edited_meanwhile(make).startswith("tasks/steps.py: step changed while this process ran: ")


@pytest.mark.parametrize("error", [FileNotFoundError("gone"), SyntaxError("half written"), ValueError("null bytes")])
def test_code_that_is_no_code_any_more_is_noticed(
    code: dict[str, str], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    edited_meanwhile(make)

    def fail(*given: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(key, "fingerprint", fail)
    assert f"its code cannot be read any more ({error})" in edited_meanwhile(make)
