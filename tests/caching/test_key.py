import importlib.metadata
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from subprocess import Popen
from typing import Annotated, Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, PrivateAttr, ValidationError, create_model

from tasks.caching import key as module
from tasks.caching.code.dynamic import UnseenCodeError
from tasks.caching.ingredients import Ingredients
from tasks.caching.key import (
    digest_of,
    flatten,
    material_settings,
    own_ingredients,
    settings_classes,
    stage_call,
    version,
)
from tasks.caching.stage import FORMAT, Stage, StageConfig, StageContext, stage
from tasks.caching.storage.reference import Outputs, Reference
from tasks.relevance import MattersIf


class Data(BaseModel):
    rows: int = 50
    noise: float = 0.0
    note: str = ""


class Training(BaseModel):
    rate: float = 0.1
    layers: tuple[int, ...] = (3, 4)
    limit: int | None = None
    options: dict[str, float] = {}


class Settings(BaseModel):
    name: str = "line"
    data: Data = Data()
    training: Training = Training()


class FitConfig(StageConfig):
    data: Data
    training: Training


@stage(FitConfig, inputs=("table",), outputs=("weights",), libraries=("pydantic",))
def fit(config: FitConfig, inputs: Mapping[str, Reference], context: StageContext) -> Outputs:
    raise NotImplementedError


fit.function.__module__ = "tasks.generate"  # stands for a stage of the project


INPUTS = {
    "table": Reference.of_content("data/split/table.parquet", b"table"),
    "more": Reference.of_content("data/split/more.parquet", b"more"),
}


@pytest.fixture(autouse=True)
def _fixed_code(monkeypatch: pytest.MonkeyPatch) -> None:
    places = {"tasks/fit.py: fit": "0" * 16, "tasks/fit.py: X": "1" * 16}
    monkeypatch.setattr(module, "fingerprint", lambda module, name, **options: places)


def key_of(settings: BaseModel | None = None, stage: Stage[Any] = fit, inputs: Mapping[str, Reference] = INPUTS) -> str:
    return stage_call(stage, settings or Settings(), inputs).key


class TestFlatten:
    def test_nested_settings_get_dotted_names(self) -> None:
        nested = {"a": 1, "b": {"c": None, "d": {"e": [1, {"f": 2}]}}}
        assert flatten(nested) == {"a": 1, "b.c": None, "b.d.e": [1, {"f": 2}]}

    def test_an_empty_group_is_not_lost(self) -> None:
        assert flatten({"a": {}, "b": {"c": {}}}) == {"a": {}, "b.c": {}}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
some_ingredients = st.dictionaries(st.text(max_size=12), json_values, max_size=6)


class TestDigest:
    @given(some_ingredients, st.randoms())
    def test_the_order_of_the_ingredients_does_not_matter(self, ingredients: Ingredients, random: Any) -> None:
        names = list(ingredients)
        random.shuffle(names)
        assert digest_of({name: ingredients[name] for name in names}) == digest_of(ingredients)

    @given(some_ingredients)
    def test_a_digest_survives_json(self, ingredients: Ingredients) -> None:
        assert digest_of(json.loads(json.dumps(ingredients))) == digest_of(ingredients)

    @given(some_ingredients.filter(bool), st.data())
    def test_every_ingredient_matters(self, ingredients: Ingredients, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(ingredients)))
        value = data.draw(json_values.filter(lambda value: repr(value) != repr(ingredients[name])))
        assert digest_of(ingredients | {name: value}) != digest_of(ingredients)
        less = {other: kept for other, kept in ingredients.items() if other != name}
        assert digest_of(less) != digest_of(ingredients)

    def test_it_is_a_sha256(self) -> None:
        assert digest_of({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


class TestOrder:
    def test_it_has_all_that_shapes_the_result(self) -> None:
        call = stage_call(fit, Settings(), INPUTS)
        assert call.ingredients == {
            "cache": FORMAT,
            "stage": "fit",
            "schema": 1,
            "data.rows": 50,
            "data.noise": 0.0,
            "data.note": "",
            "training.rate": 0.1,
            "training.layers": "tuple [3, 4]",
            "training.limit": None,
            "training.options": {},
            "library python": f"{sys.version_info.major}.{sys.version_info.minor}",
            "library pydantic": importlib.metadata.version("pydantic"),
            "code tasks/fit.py: fit": "0" * 16,
            "code tasks/fit.py: X": "1" * 16,
            "input table": INPUTS["table"].digest,
            "input more": INPUTS["more"].digest,
        }
        assert call.key == digest_of(call.ingredients)
        assert call.inputs == INPUTS
        assert call.config == FitConfig(data=Data(), training=Training())

    def test_the_same_order_has_the_same_key(self) -> None:
        assert key_of() == key_of(Settings.model_validate_json(Settings().model_dump_json()))

    @pytest.mark.parametrize(
        "settings",
        [
            Settings(data=Data(rows=51)),
            Settings(data=Data(noise=5e-324)),
            Settings(data=Data(note="ü")),
            Settings(training=Training(rate=0.1 + 2**-56)),
            Settings(training=Training(layers=(4, 3))),
            Settings(training=Training(layers=())),
            Settings(training=Training(limit=0)),
            Settings(training=Training(options={"momentum": 0.0})),
        ],
    )
    def test_every_setting_that_the_stage_sees_matters(self, settings: Settings) -> None:
        assert key_of(settings) != key_of()

    def test_what_the_stage_does_not_see_does_not_matter(self) -> None:
        assert key_of(Settings(name="another")) == key_of()

    def test_inputs_matter_by_name_and_content(self) -> None:
        swapped = {"table": INPUTS["more"], "more": INPUTS["table"]}
        fewer = {"table": INPUTS["table"]}
        assert len({key_of(), key_of(inputs=swapped), key_of(inputs=fewer), key_of(inputs={})}) == 4

    def test_where_an_input_lies_does_not_matter(self) -> None:
        moved = {name: replace(reference, path="elsewhere/x.parquet") for name, reference in INPUTS.items()}
        assert key_of(inputs=moved) == key_of()

    def test_the_order_of_inputs_does_not_matter(self) -> None:
        assert key_of(inputs=dict(reversed(INPUTS.items()))) == key_of()

    def test_the_stages_name_schema_and_libraries_matter(self) -> None:
        def refit(config: FitConfig, inputs: Mapping[str, Reference], context: StageContext) -> Outputs:
            raise NotImplementedError

        others = [replace(fit, function=refit), replace(fit, schema=2), replace(fit, libraries=())]
        assert len({key_of(), *(key_of(stage=other) for other in others)}) == 4

    def test_the_code_matters(self, monkeypatch: pytest.MonkeyPatch) -> None:
        before = key_of()
        monkeypatch.setattr(module, "fingerprint", lambda module, name, **options: {"tasks/fit.py: fit": "f" * 16})
        assert key_of() == before, "this process still runs the code that it has imported"
        module.code_of.cache_clear()  # as in a new process
        assert key_of() != before

    def test_the_code_is_that_of_the_stages_module(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "fingerprint", lambda module, name, **options: {name: "0"})
        assert stage_call(fit, Settings(), {}).ingredients["code fit"] == "0"

    def test_the_version_of_a_library_matters(self, monkeypatch: pytest.MonkeyPatch) -> None:
        before = key_of()
        monkeypatch.setattr(module, "version", lambda library: "0.0")
        assert key_of() != before

    def test_settings_that_lack_what_the_view_declares_are_refused(self) -> None:
        with pytest.raises(ValidationError, match="training"):
            stage_call(fit, Data(), INPUTS)

    @given(
        st.builds(
            Settings,
            name=st.text(),
            data=st.builds(
                Data,
                rows=st.integers(),
                noise=st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([1e300, -0.0, 5e-324]),
                note=st.text(st.characters()),
            ),
            training=st.builds(
                Training,
                rate=st.floats(allow_nan=False, allow_infinity=False),
                layers=st.lists(st.integers()).map(tuple),
                limit=st.none() | st.integers(),
                options=st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False)),
            ),
        )
    )
    def test_a_key_can_be_made_of_any_settings_and_survives_json(self, settings: Settings) -> None:
        call = stage_call(fit, settings, INPUTS)
        assert len(call.key) == 64
        assert digest_of(json.loads(json.dumps(call.ingredients))) == call.key

    def test_a_number_that_json_does_not_have_is_refused_rather_than_hashed(self) -> None:
        with pytest.raises(ValueError, match="not JSON compliant"):
            key_of(Settings(data=Data(noise=float("nan"))))


class TestVersion:
    def test_a_library_that_is_absent_is_said_to_be(self) -> None:
        assert version("no-such-library-anywhere") == "absent"

    def test_a_library_is_not_imported_for_its_version(self, start_python: Callable[..., Popen[str]]) -> None:
        code = "import sys; from tasks.caching.key import version; version('torch'); print('torch' in sys.modules)"
        assert start_python(code).communicate(timeout=20)[0] == "False\n"


class PartlyImmaterialConfig(StageConfig):
    data: Data
    training: Training
    immaterial = frozenset({"training.limit"})


def test_what_a_view_calls_immaterial_is_not_in_the_key() -> None:
    partly = replace(fit, config_type=PartlyImmaterialConfig)
    assert key_of(Settings(training=Training(limit=7)), partly) == key_of(stage=partly)
    assert key_of(Settings(training=Training(rate=7)), partly) != key_of(stage=partly)


class Step(BaseModel):
    every: int = 100
    factor: float = 0.1


class Rules(BaseModel):
    name: str = "constant"
    step: Annotated[Step, MattersIf(lambda rules: rules.name == "step")] = Step()
    day: date = date(2026, 1, 1)


class RuledConfig(StageConfig):
    rules: Rules = Rules()
    all: Annotated[bool, MattersIf(lambda config: config.rules.step.every > 100)] = False


class WritingConfig(RuledConfig):
    writes_settings = True


class TestRules:
    def test_a_setting_is_in_the_key_where_it_matters(self) -> None:
        found = material_settings(RuledConfig(rules=Rules(name="step", step=Step(every=101))))
        assert found == {
            "rules.name": "step",
            "rules.step.every": 101,
            "rules.step.factor": 0.1,
            "rules.day": "date 2026-01-01",
            "all": False,
        }

    def test_it_is_not_where_it_does_not_matter_nor_is_what_is_in_it(self) -> None:
        assert material_settings(RuledConfig()) == {"rules.name": "constant", "rules.day": "date 2026-01-01"}

    def test_what_writes_settings_down_has_those_that_do_not_matter_unless_at_their_default(self) -> None:
        assert material_settings(WritingConfig()) == material_settings(RuledConfig())
        found = material_settings(WritingConfig(rules=Rules(step=Step(every=99)), all=True))
        assert found == material_settings(RuledConfig()) | {
            "rules.step.every": 99,
            "rules.step.factor": 0.1,
            "all": True,
        }

    def test_a_stage_does_not_see_what_is_not_in_its_key(self) -> None:
        given = RuledConfig(rules=Rules(step=Step(every=99)), all=True)
        ruled, writing = (replace(fit, config_type=kind) for kind in (RuledConfig, WritingConfig))
        assert stage_call(ruled, given, INPUTS).config == RuledConfig()
        assert stage_call(writing, given, INPUTS).config == WritingConfig(rules=given.rules, all=True)
        steps = RuledConfig(rules=Rules(name="step", step=Step(every=101)), all=True)
        assert stage_call(ruled, steps, INPUTS).config == steps

    def test_a_setting_that_is_added_with_a_rule_keeps_every_key(self) -> None:
        class Older(StageConfig):
            rules: Rules = Rules()

        assert material_settings(Older()) == material_settings(RuledConfig())

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ((tuple[int, ...], (1,)), (list[int], [1])),
            ((tuple[tuple[int, ...], ...], ((1,),)), (tuple[list[int], ...], ([1],))),
            ((list[tuple[int, ...]], [(1,)]), (list[list[int]], [[1]])),
            ((tuple[date, ...], (date(2026, 1, 1),)), (tuple[str, ...], ("2026-01-01",))),
            ((frozenset[int], frozenset({1})), (tuple[int, ...], (1,))),
        ],
    )
    def test_values_that_look_alike_in_json_are_reported_apart(self, one: Any, other: Any) -> None:
        configs = [create_model("Config", __base__=StageConfig, values=pair)() for pair in (one, other)]
        assert material_settings(configs[0]) != material_settings(configs[1])

    def test_a_value_that_json_does_not_have_is_reported_by_its_type(self) -> None:
        class Texts(StageConfig):
            day: str = "2026-01-01"

        class Dates(StageConfig):
            day: date = date(2026, 1, 1)

        assert material_settings(Texts()) != material_settings(Dates())


Constant = ClassVar[float]
Hidden = Annotated[float, Field(exclude=True)]


class Plain(BaseModel):
    rate: float = 0.1


class Special(Plain):
    """What no annotation names."""


@dataclass(frozen=True)
class Point:
    x: float = 0.0


@dataclass(frozen=True)
class SpecialPoint(Point):
    """Likewise."""


class Aliased(BaseModel):
    scale: Constant = 2.0
    shift: Hidden = 1.0
    rate: float = 0.1


class Keeping(BaseModel):
    _kept: int = PrivateAttr(0)


class KeepingMore(Keeping):
    rate: float = 0.1


class DeclaringConfig(StageConfig):
    aliased: Aliased = Aliased()
    keeping: KeepingMore = KeepingMore()
    plain: Plain = Plain()
    many: tuple[dict[str, Plain], ...] = ()
    point: Point = Point()


def test_names_in_settings_that_are_in_no_key_are_known_whatever_their_aliases() -> None:
    found = {name.rpartition(".")[2]: names for name, names in settings_classes(DeclaringConfig).items()}
    assert found == {
        "Aliased": {"scale", "shift"},
        "DeclaringConfig": set(),
        "Plain": set(),
        "StageConfig": {"immaterial", "writes_settings"},
    }


@pytest.mark.parametrize(
    ("field", "value", "name"),
    [
        ("plain", Special(), r"DeclaringConfig\.plain is a Special"),
        ("many", ({"a": Special()},), r"DeclaringConfig\.many\.a is a Special"),
        ("point", SpecialPoint(), r"DeclaringConfig\.point is a SpecialPoint"),
    ],
)
def test_settings_of_a_class_that_no_annotation_names_are_refused(field: str, value: Any, name: str) -> None:
    """As a validator may return them: the code of the class would be in no key."""
    config = DeclaringConfig().model_copy(update={field: value})
    with pytest.raises(UnseenCodeError, match=f"^{name}, which no annotation names"):
        own_ingredients(replace(fit, config_type=DeclaringConfig), config, {})
    assert own_ingredients(replace(fit, config_type=DeclaringConfig), DeclaringConfig(), {})


def test_a_set_is_in_the_key_in_an_order_that_is_the_same_in_every_process(
    start_python: Callable[..., Popen[str]],
) -> None:
    code = """if True:
        from tasks.caching.key import material_settings
        from tasks.caching.stage import StageConfig
        class Config(StageConfig):
            tags: frozenset[str] = frozenset({"a", "b", "c", "d", "e"})
        print(material_settings(Config()))
    """
    found = {start_python(code, PYTHONHASHSEED=seed).communicate(timeout=20)[0] for seed in "1234"}
    assert found == {"{'tags': \"frozenset ['a', 'b', 'c', 'd', 'e']\"}\n"}


def test_keys_are_the_same_in_every_process(start_python: Callable[..., Popen[str]]) -> None:
    code = """
from pydantic import BaseModel
from tasks.caching.key import stage_call
from tasks.caching.stage import StageConfig, stage
class Settings(BaseModel):
    texts: dict[str, str] = {"b": "ü", "a": "1"}
class AllConfig(StageConfig, Settings): pass
@stage(AllConfig, outputs=("x",), libraries=("torch", "numpy"))
def fit(config, inputs, context): ...
fit.function.__module__ = "tasks.caching.records"
print(stage_call(fit, Settings(), {}).key)
"""
    processes = [start_python(code, PYTHONHASHSEED=seed) for seed in ("0", "1", "4294967295")]
    keys = {process.communicate(timeout=20)[0] for process in processes}
    assert len(keys) == 1
    assert len(keys.pop()) == 64 + len("\n")
