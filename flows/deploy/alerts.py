"""`workflow alerts`: Prefect automations that tell a person, through any apprise URL, that something went wrong.

Prefect's server sends them, so that they come although the process that trained was killed. It can load only blocks
that ship with Prefect; of those, `SlackWebhook` hands every URL that is not Slack's on to apprise.

Several stores may report to one server. The alerts of each are its own: they heed only its runs and its events.
"""

import contextlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from flows.config.schedule import duration
from flows.environment.identity import ANY_STORE
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

#: What tells these automations from others, how their names begin, and how the name of the block with the URL begins.
TAG = "pytorch-workflow-alert"
PREFIX = "workflow alert: "
BLOCK, BLOCK_TYPE = "workflow-alerts", "slack-webhook"

#: Prefect takes no shorter time than this, and looks every five seconds.
SHORTEST = timedelta(seconds=10)

#: Seconds until a new automation is sure to notice events: the server loads it after it has answered.
SETTLING_SECONDS = 1.0

#: A flow run that ended otherwise than it should have.
BAD_ENDS = {"prefect.flow-run.Failed", "prefect.flow-run.Crashed", "prefect.flow-run.TimedOut"}
BAD_END_SUBJECT = "{{ flow.name }} {{ event.resource['prefect.state-name'] }}: {{ flow_run.name }}"
BAD_END_BODY = """\
{{ event.resource['prefect.state-message'] }}

experiment or run: {{ flow_run.parameters.experiment.name or flow_run.parameters.run }}
flow run: {{ flow_run|ui_url }}
"""

STALE_SUBJECT = "no new verified run of {{ labels['workflow.experiment'] }} for PERIOD"
STALE_BODY = """\
The last one was {{ event.payload.run or 'before the alert was made' }},
on {{ event.occurred.strftime('%Y-%m-%d %H:%M UTC') }}.
Is the machine on, does `workflow serve` run, and did the last runs fail? A training that finds nothing changed makes
no new run: `refresh` or `dated` in the file's [schedule] makes one each time.
"""

#: Of a run that was saved and leaves something to be desired.
REJECTED_SUBJECT = "a run of {{ event.payload.experiment }} is not accepted"
DRIFTED_SUBJECT = "a run of {{ event.payload.experiment }} drifts"
SAVED_BODY = """\
{{ event.payload.run }}: {{ event.payload.why }}

It is kept, and `latest` points to it.
"""

#: What counts as a new verified run, and what counts too where an unchanged one is as good.
NEW, UNCHANGED = {VERIFIED}, {VERIFIED, REVERIFIED, CONFIRMED}


@dataclass(frozen=True)
class Alerting:
    """What alerts are about, besides flow runs that failed and runs that are not accepted.

    Attributes:
        fresh: for how long an experiment may be without a new verified run, such as `26h`; None for any time.
        experiments: those that `fresh` is about; all when empty, also those to come.
        count_unchanged: whether an unchanged run that is found or verified again is as good as a new one.
        drift: whether a run that is outside the band of the runs before is worth an alert.
    """

    fresh: str | None = None
    experiments: tuple[str, ...] = ()
    count_unchanged: bool = False
    drift: bool = False


def create_alerts(
    client: "SyncPrefectClient", store: str, url: str, about: Alerting, experiments: Iterable[str]
) -> None:
    """Makes the alerts; those of an earlier call are replaced.

    Args:
        client: of the server that is to send them.
        store: identity of the store that they are about.
        url: of apprise, such as `mailto://…` or `ntfy://…`.
        about: what they are about.
        experiments: of which verified runs are awaited from now on.

    Raises:
        InputError: apprise knows no such URL, or the time is none or too short.
    """
    from prefect.blocks.notifications import SlackWebhook

    if about.fresh is not None and duration(about.fresh) < SHORTEST:
        raise InputError(f"--fresh must be at least {SHORTEST.seconds} s")
    block = SlackWebhook(url=plain_text_url(url), notify_type="failure")
    remove_alerts(client, store)
    block_id = block.save(block_of(store), overwrite=True)
    for automation in automations(block_id, store, about):
        client.create_automation(automation)
    if about.fresh is not None:
        time.sleep(SETTLING_SECONDS)
        for experiment in experiments:
            post(client, AWAITED, experiment, store)


def automations(block_id: Any, store: str, about: Alerting) -> list["AutomationCore"]:
    """The automations about a store, which send through a notification block."""
    from prefect.automations import AutomationCore
    from prefect.events.actions import SendNotification

    def alert(name: str, trigger: "Trigger", subject: str, body: str) -> AutomationCore:
        action = SendNotification(block_document_id=block_id, subject=subject, body=body)
        return AutomationCore(name=f"{PREFIX}{name}", tags=[TAG, tag_of(store)], trigger=trigger, actions=[action])

    made = [
        alert("a training failed", bad_end_of("train", store), BAD_END_SUBJECT, BAD_END_BODY),
        alert("a verification failed", bad_end_of("verify", store), BAD_END_SUBJECT, BAD_END_BODY),
        alert("a run is not accepted", event_of(REJECTED, store), REJECTED_SUBJECT, SAVED_BODY),
        alert("a trial", event_of(TRIED, store), "A trial of the alerts", "They arrive."),
    ]
    if about.drift:
        made.append(alert("a run drifts", event_of(DRIFTED, store), DRIFTED_SUBJECT, SAVED_BODY))
    if about.fresh is not None:
        awaited = UNCHANGED if about.count_unchanged else NEW
        silence = silence_of(duration(about.fresh), store, awaited, about.experiments)
        subject = STALE_SUBJECT.replace("PERIOD", about.fresh)
        made.append(alert(f"no new verified run for {about.fresh}", silence, subject, STALE_BODY))
    return made


def event_of(event: str, store: str) -> "Trigger":
    """What happens when an event about a store is posted."""
    from prefect.automations import EventTrigger, ResourceSpecification

    return EventTrigger(expect={event}, match=ResourceSpecification({STORE: store}))


def bad_end_of(flow: str, store: str) -> "Trigger":
    """What happens when a run of a flow fails, crashes or takes too long, in a store or where none is known."""
    from prefect.automations import EventTrigger, ResourceSpecification

    return EventTrigger(
        expect=BAD_ENDS,
        match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
        match_related=[
            ResourceSpecification({"prefect.resource.role": "flow", "prefect.resource.name": flow}),
            ResourceSpecification(
                {
                    "prefect.resource.role": "tag",
                    "prefect.resource.id": [f"prefect.tag.{tag}" for tag in (tag_of(store), ANY_STORE)],
                }
            ),
        ],
    )


def silence_of(period: timedelta, store: str, awaited: set[str], experiments: Sequence[str]) -> "Trigger":
    """What happens when none of the awaited events is posted for an experiment of a store for a period.

    It is about some experiments, or about every one of which an event was ever posted if none is named.

    Each of them begins the period anew since it is in both `after` and `expect`. A trigger without `after` would count
    from nothing in particular, and with `for_each` never fire.
    """
    from prefect.automations import EventTrigger, Posture, ResourceSpecification

    return EventTrigger(
        posture=Posture.Proactive,
        after={*awaited, AWAITED},
        expect=awaited,
        match=ResourceSpecification({EXPERIMENT: list(experiments) or "*", STORE: store}),
        for_each={EXPERIMENT},
        within=period,
    )


def read_alerts(client: "SyncPrefectClient", store: str) -> "list[Automation]":
    """The alerts about a store, by name; with those that an earlier version made, which heed every store."""
    from prefect.events.filters import AutomationFilter, AutomationFilterTags

    ours = AutomationFilter(tags=AutomationFilterTags(all_=[TAG]))
    found = [
        automation
        for automation in client.read_automations(automations=ours)
        if tag_of(store) in automation.tags or not any(tag.startswith(STORE_PREFIX) for tag in automation.tags)
    ]
    return sorted(found, key=lambda automation: automation.name)


def try_alerts(client: "SyncPrefectClient", store: str) -> None:
    """Has the server send a trial.

    Raises:
        InputError: there are no alerts.
    """
    if not read_alerts(client, store):
        raise InputError("there are no alerts: `workflow alerts create URL` makes some")
    post(client, TRIED, "none", store)


def remove_alerts(client: "SyncPrefectClient", store: str) -> int:
    """Removes the alerts about a store, and the URL that they went to; returns how many there were."""
    from prefect.exceptions import ObjectNotFound

    alerts = read_alerts(client, store)
    for automation in alerts:
        client.delete_automation(automation.id)
    for block in (block_of(store), *(BLOCK for alert in alerts if tag_of(store) not in alert.tags)):
        with contextlib.suppress(ObjectNotFound):
            client.delete_block_document(client.read_block_document_by_name(block, BLOCK_TYPE).id)
    return len(alerts)


def block_of(store: str) -> str:
    """The name of the block with the URL that the alerts about a store go to."""
    return f"{BLOCK}-{store}"


def tag_of(store: str) -> str:
    """The tag of a store's flow runs, which its alerts have as well."""
    return f"{STORE_PREFIX}{store}"


def plain_text_url(url: str) -> str:
    """An apprise URL with which messages are sent as text: as HTML, mail would lose line ends and what is in `<…>`.

    Raises:
        InputError: apprise knows no such URL.
    """
    from apprise import Apprise, NotifyFormat

    try:
        service = Apprise.instantiate(url, suppress_exceptions=False)
    except TypeError as error:
        raise InputError(f"apprise cannot use this URL: {error}") from error
    if service is None:
        raise InputError("apprise knows no such URL: its form is scheme://…, see https://github.com/caronc/apprise")
    service.notify_format = NotifyFormat.TEXT
    return str(service.url())  # type: ignore[no-untyped-call]


def where_to(client: "SyncPrefectClient", store: str) -> str:
    """Where the alerts about a store go, without what is secret in the URL; empty if nowhere."""
    from apprise import Apprise
    from prefect.exceptions import ObjectNotFound

    try:
        block = client.read_block_document_by_name(block_of(store), BLOCK_TYPE)
    except ObjectNotFound:
        return ""
    service = Apprise.instantiate(str(block.data["url"]))
    return str(service.url(privacy=True)) if service else ""  # type: ignore[no-untyped-call]
