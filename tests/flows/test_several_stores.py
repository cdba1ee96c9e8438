"""Several stores that report to one server keep to themselves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.environment.identity import identity, store_tag
from flows.runtime import repetition
from tasks.caching.storage.store import Store
from tests.flows.conftest import enter
from tests.support.prefect_api import Api

Command = Callable[..., tuple[int, str, str]]


def keys(api: Api, flow_run_id: Any) -> set[str | None]:
    """The keys of a flow run's pages, as they are."""
    from prefect.client.schemas.filters import ArtifactFilter

    chosen = ArtifactFilter.model_validate({"flow_run_id": {"any_": [flow_run_id]}})
    return {found.key for found in api.client.read_artifacts(artifact_filter=chosen)}


@pytest.fixture
def posted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The events that this process posts."""
    events: list[tuple[str, ...]] = []
    monkeypatch.setattr("flows.runtime.observers.emit", lambda *fields: events.append(fields))
    return events


def test_a_flow_run_names_its_store_and_so_do_its_events(
    store: Store, train: Any, api: Api, posted: list[tuple[str, ...]]
) -> None:
    outcome = train()
    assert store_tag(store.root) in api.flow_run(outcome.flow_run_id).tags
    assert posted == [("workflow.run.trained", "line", outcome.run, identity(store.root), "")]


def test_a_run_that_is_verified_already_is_not_verified_again(
    store: Store, train: Any, posted: list[tuple[str, ...]]
) -> None:
    from flows import orchestration

    run = train().run
    orchestration.verify(run)
    assert train().run == run
    assert [event for event, *_ in posted] == [f"workflow.run.{what}" for what in ("trained", "verified", "confirmed")]
    path = store.runs / run / "verification.json"
    path.write_text(path.read_text().replace('"digest": "', '"digest": "0'))
    train()
    assert [event for event, *_ in posted[3:]] == ["workflow.run.trained"]


@pytest.mark.usefixtures("prefect")
def test_the_verification_of_a_run_in_another_store_is_refused(trained: Store, posted: list[tuple[str, ...]]) -> None:
    from flows import orchestration

    state: Any = orchestration.verify("latest", store="0123456789ab", return_state=True)
    assert (state.name, posted) == ("Cancelled", [])
    assert state.message == "latest is in another store that reports to this server: nothing to verify here"
    state = orchestration.verify("latest", store=identity(trained.root), return_state=True)
    assert (state.name, len(posted)) == ("Completed", 1)


def test_the_pages_of_two_stores_have_keys_of_their_own(
    tmp_path: Path, train: Any, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes, shown = {"name": "shared"}, []
    for number, home in enumerate(("first", "second", "first")):
        store = enter(tmp_path / home, monkeypatch)
        changes["training"] = {"epochs": 20 + number}  # type: ignore[assignment]
        shown.append(keys(api, train(changes=changes).flow_run_id))
        monkeypatch.setattr("flows.ui.page_keys.is_shared", is_shared_now())
    pages = ("plan", "metrics", "plots", "report", "history")
    assert shown[0] == shown[2] == {f"shared-{page}" for page in pages}
    other = identity(tmp_path / "second")
    assert shown[1] == {f"shared-at-{other}-{page}" for page in pages}
    assert store.root == tmp_path / "first"


def is_shared_now() -> Callable[..., bool]:
    """What shows whether keys are another store's, without what it knew before: each process asks once."""
    from flows.ui import page_keys

    page_keys.is_shared.cache_clear()
    return page_keys.is_shared


def test_a_repetition_is_marked_emits_nothing_and_has_no_keys(
    store: Store, train: Any, api: Api, posted: list[tuple[str, ...]]
) -> None:
    token = repetition.purpose.set("reproduce")
    try:
        outcome = train()
    finally:
        repetition.purpose.reset(token)
    assert {"repetition", "reproduce"} <= set(api.flow_run(outcome.flow_run_id).tags)
    assert (keys(api, outcome.flow_run_id), posted) == ({None}, [])


@pytest.mark.parametrize(
    "words",
    [
        ("reproduce", "latest"),
        pytest.param(("selftest", "resume", "line", "--kills", "1"), marks=pytest.mark.long),
    ],
    ids=lambda words: words[0],
)
def test_the_commands_that_repeat_say_so(trained: Store, command: Command, api: Api, words: tuple[str, ...]) -> None:
    before = {run.id for run in api.tagged("repetition", words[0])}
    assert command(*words)[0] == 0
    made = [run for run in api.tagged("repetition", words[0]) if run.id not in before]
    assert len(made) == (1 if words[0] == "reproduce" else 3)
    assert not [run for run in made if store_tag(trained.root) in run.tags]
    assert {key for run in made for key in keys(api, run.id)} == {None}
