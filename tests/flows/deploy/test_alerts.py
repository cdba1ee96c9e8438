"""Alerts, from a flow run that fails to the message that an apprise URL receives."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from flows.deploy.alerts import plain_text_url, read_alerts
from flows.environment.identity import ANY_STORE, identity, store_tag
from flows.errors import InputError
from flows.runtime.events import AWAITED, CONFIRMED, REVERIFIED, VERIFIED
from tasks.caching.storage.store import project_store
from tests.flows.conftest import enter
from tests.support.prefect_api import Api, until_there

Command = Callable[..., tuple[int, str, str]]


class Inbox:
    """Receives what apprise sends to a `json://` URL."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        messages = self.messages

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                """Nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.server.server_port}/inbox"

    def titled(self, text: str) -> dict[str, Any]:
        """Waits for the first message whose title contains a text."""
        return until_there(lambda: next((message for message in self.messages if text in message["title"]), None))


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    inbox = Inbox()
    thread = threading.Thread(target=inbox.server.serve_forever)
    thread.start()
    yield inbox
    inbox.server.shutdown()
    thread.join()
    inbox.server.server_close()


@pytest.fixture
def alerts(trained: Any, command: Command, inbox: Inbox) -> Iterator[Inbox]:
    """Receives the alerts of this test's server."""
    experiments = ("--experiment", "line", "--experiment", "other")
    assert command("alerts", "create", inbox.url, "--fresh", "10s", "--drift", *experiments)[0] == 0
    yield inbox
    assert command("alerts", "remove")[0] == 0


def test_a_training_that_failed(alerts: Inbox, train: Any) -> None:
    train(changes={"training": {"learning_rate": 1e30, "loss": "mse"}}, may_fail=True)
    message = alerts.titled("train Failed")
    assert "training diverged at epoch" in message["message"]
    assert "experiment or run: line" in message["message"]
    assert "/runs/flow-run/" in message["message"]


def test_a_verification_that_failed(alerts: Inbox, command: Command) -> None:
    checkpoint = next(project_store().runs.glob("line-2*/*.pth"))
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    assert command("verify", "latest")[0] == 1
    message = alerts.titled("verify Failed")
    assert "stage reload failed: artifact altered" in message["message"]


def test_a_zombie_run(alerts: Inbox, api: Any) -> None:
    """Its process could not report anything."""
    from prefect import flow
    from prefect.states import Crashed, Running

    @flow(name="train")
    def dead() -> None:
        """Never runs."""

    run = api.create(dead, Running(), store_tag(project_store().root))
    api.set_state(run, Crashed(message="Its process ended without reporting it."))
    assert "ended without reporting it" in alerts.titled("train Crashed")["message"]


def test_a_run_of_a_deployment_without_a_store(alerts: Inbox, api: Any) -> None:
    """Such as `prefect deploy` creates from prefect.yaml."""
    from prefect import flow
    from prefect.states import Failed, Running

    @flow(name="train")
    def deployed() -> None:
        """Never runs."""

    api.set_state(api.create(deployed, Running(), ANY_STORE), Failed(message="On a worker."))
    assert "On a worker." in alerts.titled("train Failed")["message"]


def test_runs_of_another_store_are_ignored(
    alerts: Inbox, train: Any, command: Command, api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = project_store().root
    elsewhere = enter(tmp_path / "elsewhere", monkeypatch)
    assert elsewhere.root != ours
    train(changes={"name": "elsewhere", "training": {"learning_rate": 1e30, "loss": "mse"}}, may_fail=True)
    assert json.loads(command("alerts", "list", "--json")[1]) == {"url": "", "alerts": {}}
    assert command("alerts", "try") == (
        2,
        "",
        "error: there are no alerts: `workflow alerts create URL` makes some\n",
    )
    assert command("alerts", "remove")[1] == "0 alerts were removed.\n"
    enter(ours, monkeypatch)
    assert command("alerts", "try")[0] == 0
    alerts.titled("A trial of the alerts")  # by now, the others would be there
    assert not [message for message in alerts.messages if "elsewhere" in message["message"]]
    made = read_alerts(api.client, identity(ours))
    assert len(made) == 6
    assert all(identity(ours) in alert.trigger.model_dump_json() for alert in made)


def test_other_flows_are_ignored(alerts: Inbox, api: Any, command: Command) -> None:
    from prefect import flow
    from prefect.states import Failed, Running

    @flow(name="somebody-elses")
    def other() -> None:
        """Never runs."""

    api.set_state(api.create(other, Running()), Failed(message="Not ours."))
    assert command("alerts", "try")[0] == 0
    alerts.titled("A trial of the alerts")  # by now, the other one would be there
    assert not [message for message in alerts.messages if "Not ours" in message["message"]]


def test_an_experiment_without_a_new_verified_run_for_too_long(alerts: Inbox, train: Any, command: Command) -> None:
    """The time is counted from the last one or, without one, from the creation of the alert.

    A run that was verified before is not new, whether it is verified again or found unchanged by a training.
    """
    run = train(changes={"training": {"epochs": 9}}).run
    assert command("verify", "latest")[0] == 0
    assert command("verify", "latest")[0] == 0
    train(changes={"training": {"epochs": 9}})
    train(changes={"name": "once"})
    assert command("verify", "once-latest")[0] == 0
    last = alerts.titled("no new verified run of line for 10s")["message"]
    assert re.match(rf"The last one was {run},\non \d{{4}}-\d\d-\d\d \d\d:\d\d UTC\.\n", last)
    assert "The last one was before the alert" in alerts.titled("no new verified run of other for 10s")["message"]
    time.sleep(20)  # by then, the server would have sent another one
    assert not [message for message in alerts.messages if "of once for" in message["title"]], "nobody asked for it"


def test_unchanged_runs_count_if_asked_for(store: Any, command: Command, inbox: Inbox, api: Api) -> None:
    for words, expected in (((), {VERIFIED}), (("--count-unchanged",), {VERIFIED, REVERIFIED, CONFIRMED})):
        assert command("alerts", "create", inbox.url, "--fresh", "26h", *words)[0] == 0
        (fresh,) = (alert for alert in read_alerts(api.client, identity(store.root)) if "no new" in alert.name)
        assert (set(fresh.trigger.expect), set(fresh.trigger.after)) == (expected, {*expected, AWAITED})
    command("alerts", "remove")


def test_a_rejected_run(alerts: Inbox, train: Any) -> None:
    run = train(changes={"training": {"epochs": 4}, "accept": {"min_r2": 0.9}}).run
    message = alerts.titled("a run of line is not accepted")["message"]
    assert message.startswith(f"{run}: r2 -")
    assert "is below accept.min_r2 0.9" in message


def test_a_run_that_drifts(alerts: Inbox, train: Any) -> None:
    for seed in range(5):
        train(changes={"name": "calm", "training": {"epochs": 20}, "data": {"noise": 0.001, "seed": seed}})
    run = train(changes={"name": "calm", "training": {"epochs": 1}}).run
    assert f"{run}: loss " in alerts.titled("a run of calm drifts")["message"]


def test_alerts_are_listed_replaced_and_removed(store: Any, command: Command, inbox: Inbox) -> None:
    assert command("alerts", "list")[1].startswith("There are no alerts")
    assert command("alerts", "create", f"{inbox.url}?:token=secret")[0] == 0
    assert command("alerts", "create", inbox.url, "--fresh", "26h")[0] == 0
    code, out, _ = command("alerts", "list", "--json")
    assert code == 0
    reported = json.loads(out)
    assert reported["alerts"] == dict.fromkeys(
        (
            "a run is not accepted",
            "a training failed",
            "a trial",
            "a verification failed",
            "no new verified run for 26h",
        ),
        True,
    )
    assert reported["url"].startswith(inbox.url)
    assert "no new verified run for 26h" in command("alerts", "list")[1]
    assert "a run drifts" not in command("alerts", "list")[1]
    assert command("alerts", "remove")[1] == "5 alerts were removed.\n"
    assert json.loads(command("alerts", "list", "--json")[1]) == {"url": "", "alerts": {}}


def test_secrets_in_the_url_are_hidden(store: Any, command: Command) -> None:
    code, out, error = command("alerts", "create", "json://user:geheim@127.0.0.1:9/inbox")
    assert (code, error) == (0, "")
    assert "geheim" not in out
    assert "127.0.0.1:9" in out
    command("alerts", "remove")


@pytest.mark.parametrize(
    ("words", "reported"),
    [
        (("create", "http://127.0.0.1/"), "apprise does not support this URL"),
        (("create", "not a url"), "apprise does not support this URL"),
        (("create", "mailto://"), "apprise"),
        (("create", "json://127.0.0.1/", "--fresh", "tomorrow"), "'tomorrow' is no length of time"),
        (("create", "json://127.0.0.1/", "--fresh", "9s"), "at least 10 s"),
        (("try",), "there are no alerts"),
    ],
)
def test_invalid_input_creates_nothing(
    store: Any, command: Command, api: Any, words: tuple[str, ...], reported: str
) -> None:
    code, _, error = command("alerts", *words)
    assert code == 2
    assert reported in error
    assert error.count("\n") == 1
    assert read_alerts(api.client, identity(store.root)) == []


def test_mail_is_sent_as_text() -> None:
    assert "format=text" in plain_text_url("mailto://user:word@example.com")


def test_an_unsupported_url() -> None:
    with pytest.raises(InputError):
        plain_text_url("nothing://here")
