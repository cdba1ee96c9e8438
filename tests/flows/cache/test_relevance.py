"""A setting that does not matter, by the rule that stands beside it, changes no byte and reruns nothing."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from flows.config.experiments import load_experiment
from flows.train import stages_of
from tasks.caching.storage.store import Store
from tasks.learning.config.experiment import Experiment
from tasks.learning.config.section import sections_of
from tasks.relevance import MattersIf
from tests.flows.conftest import PROJECT

#: The last stage before that which writes all settings down.
UNTIL = "plot"

EPOCHS = {"epochs": 12, "evaluate_every": 4}

TABLE = {"kind": "table", "path": str(PROJECT / "docs/houses.csv"), "target": "price"}

TOWNS: dict[str, Any] = {"data": TABLE | {"exclude": ["town"]}, "model": {"kind": "linear"}}

MLP = {"model": {"kind": "mlp", "hidden": [4]}}

#: By the setting: other settings under which it does not matter, others under which it does, two values, and the first
#: stage that it shapes.
RULES: dict[str, tuple[dict[str, Any], dict[str, Any], Any, Any, str]] = {
    "data.step": ({"data": {"rows": 30}}, {}, 0.02, 0.03, "generate"),
    "data.seed": ({}, {"data": {"noise": 0.1}}, 0, 1, "generate"),
    "data.exclude": (
        {"data": TABLE | {"features": ["area"]}, "model": {"kind": "linear"}},
        {"data": TABLE, "model": {"kind": "linear"}},
        ["town"],
        ["town", "built"],
        "ingest",
    ),
    "split.column": ({}, TOWNS | {"split": {"method": "stratified"}}, "town", "garden", "ingest"),
    "split.train": (
        TOWNS | {"split": {"method": "time", "column": "built", "cut": "1990"}},
        TOWNS | {"split": {"method": "time", "column": "built"}},
        0.8,
        0.7,
        "split",
    ),
    "split.cut": ({}, TOWNS | {"split": {"method": "time", "column": "built"}}, "1980", "1990", "split"),
    "split.seed": ({}, {"split": {"method": "shuffled"}}, 0, 1, "split"),
    "model.weight_name": ({"model": {"kind": "linear"}}, {}, "weights", "slope", "train"),
    "model.bias_name": ({"model": {"kind": "linear"}}, {}, "bias", "offset", "train"),
    "model.hidden": ({}, MLP, [4], [5], "train"),
    "model.activation": ({}, MLP, "relu", "tanh", "train"),
    "model.normalization": ({}, MLP, "none", "layer", "train"),
    "model.dropout": ({}, MLP, 0.0, 0.5, "train"),
    "model.residual": ({}, {"model": {"kind": "mlp", "hidden": [4, 4]}}, False, True, "train"),
    "training.shuffle": ({}, {"training": {"batch_size": 8}}, True, False, "train"),
    "training.step_every": ({}, {"training": {"schedule": "step"}}, 5, 7, "train"),
    "training.step_factor": (
        {"training": {"schedule": "cosine"}},
        {"training": {"schedule": "step", "step_every": 5}},
        0.1,
        0.2,
        "train",
    ),
    "training.final_learning_rate": ({}, {"training": {"schedule": "cosine"}}, 0.0, 0.001, "train"),
}

#: Matters on a CUDA device alone: see tests/flows/test_train.py for what it makes on the CPU.
ON_OTHER_DEVICES = {"training.placement"}

#: Do not matter at one value, and matter at all others: their keys are those from before there were such settings.
WITHOUT_EFFECT_AT_ONE_VALUE = {
    "data.drop_missing",
    "data.limit",
    "model.impute",
    "model.missing_indicators",
    "model.scale_features",
    "model.scale_target",
    "training.warmup_epochs",
}


def ruled_settings(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The dotted names of the settings that have a rule."""
    for name, info in section.model_fields.items():
        if any(isinstance(note, MattersIf) for note in info.metadata):
            yield f"{prefix}{name}"
        for kind in sections_of(info.annotation):
            yield from ruled_settings(kind, f"{prefix}{name}.")


def settings_with(others: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    """Settings of a short training, with others and with a value of the named one."""
    section, _, field = name.partition(".")
    found = {"training": dict(EPOCHS)}
    for group, values in (*others.items(), (section, {field: value})):
        found[group] = found.get(group, {}) | values
    return found


def test_every_rule_is_tried() -> None:
    assert set(ruled_settings(Experiment)) == RULES.keys() | ON_OTHER_DEVICES | WITHOUT_EFFECT_AT_ONE_VALUE


@pytest.mark.parametrize("name", RULES)
def test_a_setting_that_does_not_matter_changes_no_byte_and_reruns_nothing(
    store: Store, train: Callable[..., Any], name: str
) -> None:
    others, _, one, other, _ = RULES[name]
    settings = settings_with(others, name, one)
    first = train("line", settings, until=UNTIL)
    stages = stages_of(load_experiment("line", settings))
    reached = stages[: stages.index(UNTIL) + 1]
    assert first.ran == list(reached)
    changed = settings_with(others, name, other)
    assert train("line", changed, until=UNTIL).ran == []
    again = train("line", changed, list(reached), until=UNTIL)
    assert again.ran == list(reached)
    assert again.digests == first.digests


@pytest.mark.parametrize("name", RULES)
def test_the_same_setting_reruns_what_it_shapes_where_it_matters(
    store: Store, train: Callable[..., Any], name: str
) -> None:
    _, others, one, other, stage = RULES[name]
    first = train("line", settings_with(others, name, one), until=UNTIL)
    changed = train("line", settings_with(others, name, other), until=UNTIL)
    assert changed.ran[0] == stage
    assert changed.reasons[stage] == (f"{name} {one} → {other}",)
    assert changed.digests != first.digests
