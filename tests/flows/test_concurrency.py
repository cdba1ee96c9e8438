"""Several at once in one store and at one server: the same run, runs that begin alike, eight flows.

Each stage is computed once, each run ends as if it had been alone, and nothing in the store is damaged.
"""

import itertools
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flows.runs.latest import point_if_newest, take_sequence_number
from tasks.caching.gc.inspection import inspect_store
from tasks.caching.storage.store import Store
from tests.flows.cache.test_caching import states_in
from tests.flows.conftest import STAGES, AtStage, Outcome, made
from tests.support.fork_server import ForkServer, workflow
from tests.support.prefect_api import Api

pytestmark = pytest.mark.usefixtures("prefect")

#: Runs that have their data, their split and nothing else in common.
RUNS = [("train", "line", "--training.learning-rate", rate) for rate in ("0.03", "0.02", "0.01", "0.005")]

FASTER = {"training": {"learning_rate": 0.02}}

TOGETHER = {
    "the same run twice": RUNS[:1] * 2,
    "a beginning in common": RUNS[:2],
    "eight flows": RUNS * 2,
}


def begin_together(meeting: str, runs: int, *words: str) -> None:
    """Runs a command that waits for others when it has found that there is no record of its first stage."""
    from tasks.caching.prefect_run import PrefectRun

    look_up = PrefectRun._look_up

    def look_up_and_wait(self: PrefectRun, order: Any) -> Any:
        found = look_up(self, order)
        Path(meeting, str(os.getpid())).touch()
        while len(list(Path(meeting).iterdir())) < runs:
            time.sleep(0.001)
        return found

    PrefectRun._look_up = look_up_and_wait  # type: ignore[method-assign]
    workflow(*words)


@pytest.fixture(scope="module")
def one_by_one(forked: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the runs make of which none disturbs another."""
    home = tmp_path_factory.mktemp("one by one")
    for words in RUNS:
        done = forked(workflow, *words, home=home)
        assert done.returncode == 0, done.stderr
    return made(home)


@pytest.mark.parametrize("runs", TOGETHER.values(), ids=TOGETHER)
def test_concurrent_runs_compute_each_stage_once(
    store: Store,
    forked: ForkServer,
    api: Api,
    tmp_path_factory: pytest.TempPathFactory,
    one_by_one: dict[str, str],
    runs: Sequence[tuple[str, ...]],
) -> None:
    began = datetime.now(UTC)
    meeting = str(tmp_path_factory.mktemp("meeting"))
    done = forked.together(begin_together, *((meeting, len(runs), *words) for words in runs), home=store.root)
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


# ---- which run is the latest


def pointed_to(store: Store) -> dict[str, str]:
    """The run that each pointer points to."""
    return {link.name: link.readlink().name for link in store.runs.iterdir() if link.is_symlink()}


@pytest.mark.parametrize(
    ("state", "stage"), [("Crashed", "train.generate"), ("Crashed", "train.save"), ("Cancelled", "train.train")]
)
def test_a_run_that_was_given_up_and_completes_is_not_the_latest(
    trained: Store, at_stage: AtStage, train: Callable[..., Outcome], api: Api, state: str, stage: str
) -> None:
    from prefect import runtime, states

    at_stage(stage, lambda: api.set_state(runtime.flow_run.id, getattr(states, state)()))
    before = pointed_to(trained)
    ended = train(changes=FASTER, refresh=["all"])
    assert ended.run is not None
    assert ended.run not in before.values()
    assert pointed_to(trained) == before
    assert api.flow_run(ended.flow_run_id).state.is_final()
    assert inspect_store(trained).findings == []
    assert train(changes=FASTER).run == ended.run
    assert set(pointed_to(trained).values()) == {ended.run}


@pytest.mark.parametrize(("name", "stage"), [("line", "train.save"), ("other", "train.train")])
def test_a_run_that_ends_after_one_that_began_later_is_not_the_latest(
    trained: Store, at_stage: AtStage, train: Callable[..., Outcome], forked: ForkServer, name: str, stage: str
) -> None:
    newer: list[str] = []

    def overtake() -> None:
        before = set(trained.runs.glob("*/run.json"))
        done = forked(workflow, *RUNS[1], home=trained.root)
        assert done.returncode == 0, done.stderr
        newer.extend({path.parent.name for path in set(trained.runs.glob("line-2*/run.json")) - before})

    at_stage(stage, overtake)
    older = train(changes={"name": name, "training": {"learning_rate": 0.01}}, refresh=["all"])
    assert older.run is not None
    expected = {"latest": newer[0], "line-latest": newer[0]}
    if name != "line":
        expected[f"{name}-latest"] = older.run
    assert pointed_to(trained) == expected
    assert inspect_store(trained).findings == []


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"[1]", b'{"begun": "7"}', b'{"begun": 1, "latest": null}', b"[" * 100_000]
)
def test_turns_begin_anew_if_their_file_is_garbage(store: Store, content: bytes) -> None:
    take_sequence_number(store)
    (file,) = (store.records / "locks").glob("turns.json")
    file.write_bytes(content)
    turn = take_sequence_number(store)
    assert turn == 1
    assert point_if_newest(store.runs / "line-1", "line", store, turn)
    assert set(pointed_to(store).values()) == {"line-1"}
