"""Under which keys a flow run's pages are kept in Prefect, which shows the newest page of each key as the current one.

A key is shared by all that report to a server. The store that first had a page of an experiment keeps the plain keys,
such as `line-plan`; those of another store with an experiment of the same name have its identity in them. The pages of
a repetition have none, and are seen on its flow run alone.
"""

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from flows.environment.identity import identity, is_ours
from flows.runtime import repetition
from flows.runtime.connection import try_request
from flows.ui.pages import artifact_key
from tasks.caching.storage.store import project_store

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

#: The page by which is seen whose the plain keys are: each training has it, and nothing but a training.
PLAN = "plan"


def page_key(experiment: str, page: str) -> str | None:
    """The key of a page of an experiment, for the flow run that this is called in; None in a repetition."""
    if repetition.purpose.get():
        return None
    root = project_store().root
    return key_in_store(experiment, page, root) if is_shared(experiment, root) else artifact_key(experiment, page)


def page_key_now(client: "SyncPrefectClient", experiment: str, page: str, root: Path) -> str:
    """The key of a page of an experiment, for a page of no flow run."""
    shared = is_of_another(client, artifact_key(experiment, PLAN), root)
    return key_in_store(experiment, page, root) if shared else artifact_key(experiment, page)


def key_in_store(experiment: str, page: str, root: Path) -> str:
    """The key of a page where the plain key is another store's."""
    return artifact_key(f"{experiment}-at-{identity(root)}", page)


@functools.cache
def is_shared(experiment: str, root: Path) -> bool:
    """Whether the plain keys of an experiment are another store's; False if Prefect does not answer."""
    from prefect.client.orchestration import get_client

    def look() -> bool:
        with get_client(sync_client=True) as client:
            return is_of_another(client, artifact_key(experiment, PLAN), root)

    return bool(try_request(look))


def is_of_another(client: "SyncPrefectClient", key: str, root: Path) -> bool:
    """Whether the newest page of a key is of a flow run of another store."""
    from httpx import HTTPStatusError
    from prefect.exceptions import ObjectNotFound

    try:
        page = client.request("GET", "/artifacts/{key}/latest", path_params={"key": key}).json()
        return page["flow_run_id"] is not None and not is_ours(client.read_flow_run(page["flow_run_id"]).tags, root)
    except ObjectNotFound:  # the flow run is gone
        return False
    except HTTPStatusError as error:  # a request that the client has no method for
        if error.response.status_code != 404:
            raise
        return False
