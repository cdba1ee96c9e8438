"""`workflow alerts`: Prefect automations that notify a person, through any apprise URL, when something goes wrong.

Prefect's server sends them, so that they arrive even if the training process was killed. It can only load blocks that
ship with Prefect; of those, `SlackWebhook` passes every URL that is not Slack's on to apprise.

Several stores may report to one server. Each has its own alerts, which only cover its own runs and events.
"""

import contextlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from flows.config.schedule import duration
from flows.environment.identity import ANY_STORE, identity_tag
from flows.environment.identity import PREFIX as STORE_PREFIX
from flows.errors import InputError
from flows.runtime.events import (
    AWAITED,
    CONFIRMED,
    DRIFTED,
    EXPERIMENT,
    REJECTED,
    REVERIFIED,
    STORE,
    TRIED,
    VERIFIED,
    post,
)

if TYPE_CHECKING:
    from prefect.automations import AutomationCore, Trigger
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.events import Automation

#: The tag of these automations, the prefix of their names, and the prefix of the name of the block with the URL.
TAG = "pytorch-workflow-alert"
PREFIX = "workflow alert: "
BLOCK, BLOCK_TYPE = "workflow-alerts", "slack-webhook"

#: The shortest time that Prefect accepts; it checks every five seconds.
SHORTEST = timedelta(seconds=10)

#: Seconds until a new automation reliably receives events: the server loads it after it has responded.
SETTLING_SECONDS = 1.0

#: The events of a flow run that did not complete.
FAILURES = {"prefect.flow-run.Failed", "prefect.flow-run.Crashed", "prefect.flow-run.TimedOut"}
FAILURE_SUBJECT = "{{ flow.name }} {{ event.resource['prefect.state-name'] }}: {{ flow_run.name }}"
FAILURE_BODY = """\
{{ event.resource['prefect.state-message'] }}

experiment or run: {{ flow_run.parameters.experiment.name or flow_run.parameters.run }}
flow run: {{ flow_run|ui_url }}
"""

STALE_SUBJECT = "no new verified run of {{ labels['workflow.experiment'] }} for PERIOD"
STALE_BODY = """\
The last one was {{ event.payload.run or 'before the alert was created' }},
on {{ event.occurred.strftime('%Y-%m-%d %H:%M UTC') }}.
Is the machine on, is `workflow serve` running, and did the last runs fail? A training that finds nothing changed
creates no new run: `refresh` or `dated` in the file's [schedule] creates one each time.
"""

#: About a run that was saved but rejected, or that drifts.
REJECTED_SUBJECT = "a run of {{ event.payload.experiment }} is not accepted"
DRIFTED_SUBJECT = "a run of {{ event.payload.experiment }} drifts"
SAVED_BODY = """\
{{ event.payload.run }}: {{ event.payload.why }}

It is kept, and `latest` points to it.
"""

#: The events that count as a new verified run, and those that count with `count_unchanged`.
NEW, UNCHANGED = {VERIFIED}, {VERIFIED, REVERIFIED, CONFIRMED}


@dataclass(frozen=True)
class AlertSettings:
    """What to send alerts about, besides failed flow runs and rejected runs.

    Attributes:
        fresh: The longest time an experiment may go without a new verified run, such as `26h`; None for no limit.
        experiments: The experiments that `fresh` applies to; if empty, all, including future ones.
        count_unchanged: Whether an unchanged run that is found or verified again counts like a new one.
        drift: Whether to send an alert about a run outside the band of the previous runs.
    """

    fresh: str | None = None
    experiments: tuple[str, ...] = ()
    count_unchanged: bool = False
    drift: bool = False


def create_alerts(
    client: "SyncPrefectClient", store: str, url: str, about: AlertSettings, experiments: Iterable[str]
) -> None:
    """Creates the alerts; replaces those of an earlier call.

    Args:
        client: Of the server that sends them.
        store: Identity of the store they are about.
        url: Of apprise, such as `mailto://…` or `ntfy://…`.
        about: What to send alerts about.
        experiments: Those of which verified runs are expected from now on.

    Raises:
        InputError: apprise does not support the URL, or the time is invalid or too short.
    """
    from prefect.blocks.notifications import SlackWebhook

    if about.fresh is not None and duration(about.fresh) < SHORTEST:
        raise InputError(f"--fresh must be at least {SHORTEST.seconds} s")
    block = SlackWebhook(url=plain_text_url(url), notify_type="failure")
    remove_alerts(client, store)
    block_id = block.save(block_name(store), overwrite=True)
    for automation in automations(block_id, store, about):
        client.create_automation(automation)
    if about.fresh is not None:
        time.sleep(SETTLING_SECONDS)
        for experiment in experiments:
            post(client, AWAITED, experiment, store)


def automations(block_id: Any, store: str, about: AlertSettings) -> list["AutomationCore"]:
    """Returns the automations of a store, which send through a notification block."""
    from prefect.automations import AutomationCore
    from prefect.events.actions import SendNotification

    def alert(name: str, trigger: "Trigger", subject: str, body: str) -> AutomationCore:
        action = SendNotification(block_document_id=block_id, subject=subject, body=body)
        return AutomationCore(
            name=f"{PREFIX}{name}", tags=[TAG, identity_tag(store)], trigger=trigger, actions=[action]
        )

    made = [
        alert("a training failed", failure_trigger("train", store), FAILURE_SUBJECT, FAILURE_BODY),
        alert("a verification failed", failure_trigger("verify", store), FAILURE_SUBJECT, FAILURE_BODY),
        alert("a run is not accepted", event_trigger(REJECTED, store), REJECTED_SUBJECT, SAVED_BODY),
        alert("a trial", event_trigger(TRIED, store), "A trial of the alerts", "They arrive."),
    ]
    if about.drift:
        made.append(alert("a run drifts", event_trigger(DRIFTED, store), DRIFTED_SUBJECT, SAVED_BODY))
    if about.fresh is not None:
        expected = UNCHANGED if about.count_unchanged else NEW
        stale = stale_trigger(duration(about.fresh), store, expected, about.experiments)
        subject = STALE_SUBJECT.replace("PERIOD", about.fresh)
        made.append(alert(f"no new verified run for {about.fresh}", stale, subject, STALE_BODY))
    return made


def event_trigger(event: str, store: str) -> "Trigger":
    """Returns a trigger that fires on an event about a store."""
    from prefect.automations import EventTrigger, ResourceSpecification

    return EventTrigger(expect={event}, match=ResourceSpecification({STORE: store}))


def failure_trigger(flow: str, store: str) -> "Trigger":
    """Returns a trigger that fires when a run of a flow fails, in a store or in an unknown one."""
    from prefect.automations import EventTrigger, ResourceSpecification

    return EventTrigger(
        expect=FAILURES,
        match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
        match_related=[
            ResourceSpecification({"prefect.resource.role": "flow", "prefect.resource.name": flow}),
            ResourceSpecification(
                {
                    "prefect.resource.role": "tag",
                    "prefect.resource.id": [f"prefect.tag.{tag}" for tag in (identity_tag(store), ANY_STORE)],
                }
            ),
        ],
    )


def stale_trigger(period: timedelta, store: str, expected: set[str], experiments: Sequence[str]) -> "Trigger":
    """Returns a trigger that fires when no expected event is posted for an experiment for a period.

    It covers the given experiments, or, if there are none, every one for which an event was ever posted.

    Each event restarts the period because it is in both `after` and `expect`. A trigger without `after` would have no
    starting point and, with `for_each`, never fire.
    """
    from prefect.automations import EventTrigger, Posture, ResourceSpecification

    return EventTrigger(
        posture=Posture.Proactive,
        after={*expected, AWAITED},
        expect=expected,
        match=ResourceSpecification({EXPERIMENT: list(experiments) or "*", STORE: store}),
        for_each={EXPERIMENT},
        within=period,
    )


def read_alerts(client: "SyncPrefectClient", store: str) -> "list[Automation]":
    """Returns a store's alerts by name, including those of an earlier version, which cover every store."""
    from prefect.events.filters import AutomationFilter, AutomationFilterTags

    ours = AutomationFilter(tags=AutomationFilterTags(all_=[TAG]))
    found = [
        automation
        for automation in client.read_automations(automations=ours)
        if identity_tag(store) in automation.tags or not any(tag.startswith(STORE_PREFIX) for tag in automation.tags)
    ]
    return sorted(found, key=lambda automation: automation.name)


def try_alerts(client: "SyncPrefectClient", store: str) -> None:
    """Makes the server send a test alert.

    Raises:
        InputError: There are no alerts.
    """
    if not read_alerts(client, store):
        raise InputError("there are no alerts: `workflow alerts create URL` makes some")
    post(client, TRIED, "none", store)


def remove_alerts(client: "SyncPrefectClient", store: str) -> int:
    """Removes a store's alerts and their URL; returns how many there were."""
    from prefect.exceptions import ObjectNotFound

    alerts = read_alerts(client, store)
    for automation in alerts:
        client.delete_automation(automation.id)
    for block in (block_name(store), *(BLOCK for alert in alerts if identity_tag(store) not in alert.tags)):
        with contextlib.suppress(ObjectNotFound):
            client.delete_block_document(client.read_block_document_by_name(block, BLOCK_TYPE).id)
    return len(alerts)


def block_name(store: str) -> str:
    """Returns the name of the block with the URL of a store's alerts."""
    return f"{BLOCK}-{store}"


def plain_text_url(url: str) -> str:
    """Returns an apprise URL that sends messages as plain text: HTML mail would lose line breaks and `<…>`.

    Raises:
        InputError: apprise does not support the URL.
    """
    from apprise import Apprise, NotifyFormat

    try:
        service = Apprise.instantiate(url, suppress_exceptions=False)
    except TypeError as error:
        raise InputError(f"apprise cannot use this URL: {error}") from error
    if service is None:
        raise InputError("apprise does not support this URL: use scheme://…, see https://github.com/caronc/apprise")
    service.notify_format = NotifyFormat.TEXT
    return str(service.url())  # type: ignore[no-untyped-call]


def destination(client: "SyncPrefectClient", store: str) -> str:
    """Returns where a store's alerts are sent, without the secrets in the URL; empty if nowhere."""
    from apprise import Apprise
    from prefect.exceptions import ObjectNotFound

    try:
        block = client.read_block_document_by_name(block_name(store), BLOCK_TYPE)
    except ObjectNotFound:
        return ""
    service = Apprise.instantiate(str(block.data["url"]))
    return str(service.url(privacy=True)) if service else ""  # type: ignore[no-untyped-call]
