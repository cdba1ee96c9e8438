"""What distinguishes flow runs in the UI: a name that says experiment, device and what changed, and tags to filter by.

A name that a person has typed is kept. Prefect's server makes names up, and the form of its UI another kind, which it
sends as it sends one that was typed: only their words distinguish them.
"""

import functools
import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.runtime import flow_run

from flows.errors import InputError
from flows.prefect_internals import web_pages
from flows.runtime.training_request import training_request
from tasks.caching.decision import FORCED, Decision
from tasks.caching.reasons import Reason, ReasonKind

#: Characters of a name; more would be cut off in the lists of the UI.
LONGEST = 100

#: What the form begins its names with, a number behind it or not.
GREEK = re.compile(
    r"(?:alpha|beta|gamma|delta|epsilon|zeta|eta|theta|iota|kappa|lambda|mu|nu|xi|omicron|pi|rho|sigma|tau|upsilon|phi|chi"
    r"|psi|omega)\d*-(?P<star>.+)"
)

#: The list of stars and constellations in the form's program, from its first one on.
STARS = re.compile(rb"`(andromedae\.[a-z.-]+)`")


def train_run_name() -> str:
    """Name of a train flow run, such as `line on cpu: training.learning_rate 0.03 → 0.01`."""
    asked = flow_run.parameters
    try:
        request = training_request(**asked)
    except InputError:  # the flow will fail with it
        return f"{asked['experiment'].name} on {asked['device'] or asked['experiment'].training.device}"
    experiment = request.experiment
    return shortened(f"{experiment.name} on {experiment.training.device}: {what_is_new(request.plan)}")


def verify_run_name() -> str:
    """Name of a verify flow run: the run that it is of."""
    return shortened(f"verify {Path(flow_run.parameters['run']).name}")


def what_is_new(plan: Sequence[Decision]) -> str:
    """Why the stages of a plan run that do, in a few words."""
    running = [decision for decision in plan if decision.status == "will run"]
    forced = [decision.stage for decision in plan if decision.reasons == FORCED]
    changed = next((decision.reasons for decision in running if decision.reasons != FORCED), ())
    news = [summary(changed)] if changed else []
    if forced:
        news.append(f"{', '.join(forced)} forced")
    return "; ".join(news) or "nothing changed"


def summary(reasons: Sequence[Reason]) -> str:
    """The first of the reasons why a stage runs, and how many others there are."""
    first, *others = reasons
    if first.kind is ReasonKind.FIRST_RUN:
        return "first run"
    return f"{first} and {len(others)} more" if others else str(first)


def shortened(text: str) -> str:
    """A text that is not too long for a list."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def tag_run(tags: Iterable[str]) -> None:
    """Adds tags to the flow run that this is called in."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise RuntimeError("only a flow run can be tagged")
    with get_client(sync_client=True) as client:
        client.update_flow_run(context.flow_run.id, tags=sorted({*context.flow_run.tags, *tags}))


def is_random(name: str) -> bool:
    """Whether a name is one that Prefect has made up, such as `classic-bullfinch` or `alpha2-andromedae-void`."""
    words = name.split("-")
    if len(words) == 2 and server_words().issuperset(words):
        return True
    greek = GREEK.fullmatch(name)
    return greek is not None and bool(form_stars() & {greek["star"], greek["star"].rpartition("-")[0]})


@functools.cache
def server_words() -> frozenset[str]:
    """The words that the server makes names of."""
    from coolname.data import config

    lists = (part["words"] for part in config.values() if isinstance(part, dict) and part.get("type") == "words")
    return frozenset(itertools.chain.from_iterable(lists))


@functools.cache
def form_stars() -> frozenset[str]:
    """The stars and constellations that the form makes names of; none where its program is not as expected."""
    programs = (web_pages() / "assets").glob("index-*.js")
    found = (STARS.search(program.read_bytes()) for program in programs)
    return frozenset(star for match in found if match for star in match[1].decode().split(".") if star)
