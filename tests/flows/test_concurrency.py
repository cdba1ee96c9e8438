"""Several at once in one store and at one server: the same run, runs that begin alike, eight flows.

Each stage is computed once, each run ends as if it had been alone, and nothing in the store is damaged.
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from tasks.caching.inspection import inspect_store
from tasks.caching.store import Store
from tests.flows.conftest import STAGES, Api, made
from tests.flows.forking import Nursery, workflow
from tests.flows.test_caching import states_in

pytestmark = pytest.mark.usefixtures("prefect")

#: Runs that have their data, their split and nothing else in common.
RUNS = [("train", "line", "--training.learning-rate", rate) for rate in ("0.03", "0.02", "0.01", "0.005")]

TOGETHER = {
    "the same run twice": RUNS[:1] * 2,
    "a beginning in common": RUNS[:2],
    "eight flows": RUNS * 2,
}


@pytest.fixture(scope="module")
def one_by_one(forked: Nursery, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the runs make of which none disturbs another."""
    home = tmp_path_factory.mktemp("one by one")
    for words in RUNS:
        done = forked(workflow, *words, home=home)
        assert done.returncode == 0, done.stderr
    return made(home)


@pytest.mark.parametrize("runs", TOGETHER.values(), ids=TOGETHER)
def test_runs_that_go_on_at_once_compute_each_stage_once(
    store: Store,
    forked: Nursery,
    api: Api,
    one_by_one: dict[str, str],
    runs: Sequence[tuple[str, ...]],
) -> None:
    began = datetime.now(UTC)
    done = forked.together(workflow, *runs, home=store.root)
    assert [run.returncode for run in done] == [0] * len(runs), [run.stderr for run in done]
    assert [run.stderr for run in done] == [""] * len(runs)
    states = Counter(itertools.chain.from_iterable(states_in(run.stdout) for run in done))
    different = len(set(runs))
    computed = {"generate": 1, "split": 1} | dict.fromkeys(STAGES[2:], different)
    assert {stage: states[stage, "Completed"] for stage in STAGES} == computed
    assert states.total() == len(runs) * len(STAGES)
    assert made(store.root).items() <= one_by_one.items()
    assert len(list(store.runs.glob("line-2*/run.json"))) == different
    flow_runs = api.since(began)
    assert [run.state.name for run in flow_runs] == ["Completed"] * len(runs)
    for run in flow_runs:
        assert {state for _, state in api.stages(run.id, len(STAGES))} <= {"Completed", "Cached"}
    assert inspect_store(store).findings == []
