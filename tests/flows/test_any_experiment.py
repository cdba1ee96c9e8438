"""Whatever an experiment says, it is an experiment or it is refused by the names of its fields."""

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.config.experiments import load_experiment, settle
from flows.errors import InputError
from flows.planning import plan_training
from tasks.caching.storage.store import Store
from tasks.learning.config.experiment import Experiment

SECTIONS = ("data", "split", "model", "training")
FIELDS = [(section, field) for section in SECTIONS for field in type(getattr(Experiment(), section)).model_fields]

#: Values of every type that TOML and JSON have, those that some field takes among them.
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(0, 1000),
    st.floats(),
    st.floats(0, 1),
    st.text(max_size=20),
    st.sampled_from(["adam", "adamw", "mse", "huber", "cosine", "random", "sequential", "2 epochs", "5s", "never"]),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)

CHANGES = st.dictionaries(
    st.sampled_from([*FIELDS, ("training", "epoch"), ("plots", ""), ("name", "")]), VALUES, max_size=4
)

SETTINGS = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def nested(changes: dict[tuple[str, str], Any]) -> dict[str, Any]:
    """Changes by section and field as a file has them."""
    found: dict[str, Any] = {}
    for (section, field), value in changes.items():
        if field:
            found.setdefault(section, {})[field] = value
        else:
            found[section] = value
    return found


@SETTINGS
@given(CHANGES)
def test_it_is_one_or_the_field_is_named(changes: dict[tuple[str, str], Any]) -> None:
    try:
        experiment = load_experiment("line", nested(changes))
    except InputError as refusal:
        reported, experiment = str(refusal), None
    if experiment is None:
        # Of two that do not go together, it may name the one that was not changed.
        others = [".".join(names) for names in FIELDS]
        assert any(name in reported for name in [*(field or section for section, field in changes), *others]), reported
    else:
        assert Experiment.model_validate_json(experiment.model_dump_json()) == experiment


@SETTINGS
@given(CHANGES)
def test_one_that_is_can_be_planned(store: Store, changes: dict[tuple[str, str], Any]) -> None:
    try:
        experiment = settle(load_experiment("line", nested(changes)))
    except InputError:
        return
    plan = plan_training(experiment, store)
    assert plan[0].status == "will run"


def test_the_changes_are_of_both_kinds() -> None:
    """Else the two tests above would show nothing."""
    seen: set[bool] = set()

    @settings(max_examples=200, deadline=None, database=None)
    @given(CHANGES)
    def look(changes: dict[tuple[str, str], Any]) -> None:
        seen.add(is_one(lambda: load_experiment("line", nested(changes))) and bool(changes))

    look()
    assert seen == {True, False}


def is_one(load: Callable[[], Experiment]) -> bool:
    """Whether an experiment can be loaded."""
    try:
        load()
    except InputError:
        return False
    return True
