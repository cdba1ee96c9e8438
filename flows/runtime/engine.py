"""Flows whose results survive even if their end cannot be reported to Prefect.

They run in Prefect's own engine, but for three things. Each run has a lease before Prefect knows of it, so that one
whose process dies is found (`flows.runtime.zombie_runs`). If the end of a run cannot be reported, the run ends that
way nonetheless, and it is reported at the next start. And a run that was ended on purpose, by Ctrl-C, SIGTERM or
SIGHUP, is Cancelled and not Crashed: no alert is to be sent.
"""

import contextlib
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

from prefect import Flow
from prefect import tags as tagged
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas import FlowRun
from prefect.client.schemas.objects import State
from prefect.exceptions import Abort, ParameterTypeError, TerminationSignal
from prefect.flow_engine import FlowRunEngine
from prefect.logging.loggers import flow_run_logger
from prefect.states import Cancelled, Failed
from prefect.utilities.callables import get_call_parameters
from pydantic_core import to_jsonable_python

from flows.environment.identity import store_tag
from flows.errors import InputError
from flows.prefect_internals import keep_error, keep_flow_run_name, replace_sigterm_handler
from flows.runtime import repetition
from flows.runtime.connection import UNANSWERED, contact, once_only, reason
from flows.runtime.empty_fields import fill_empty_fields
from flows.runtime.run_names import is_random
from flows.runtime.zombie_runs import acquire_run_lease, dump_final_state, lease_path
from tasks.caching.interruption import interruptions, noted, postponed_interruption
from tasks.caching.locking.lease import Lease
from tasks.caching.storage.store import project_store
from tasks.errors import ExperimentError

# Prefect's own handler of SIGTERM, while a flow runs, raises an exception too, which can be lost.
replace_sigterm_handler(noted)

#: What Prefect shows of a run that was ended by a signal.
ENDED_ON_PURPOSE = "Ended by {}. What is finished is kept: the next run continues from there."

#: What the log of a run says whose parameters are not valid, or contradict each other.
RETRY_IS_NO_USE = "A retry has the same parameters: start another run, with others."

#: The largest integer in JSON that the server can send.
LARGEST = 2**63 - 1


#: Where the results of flows would lie. None is kept: the stages keep their own.
NOWHERE = Path(os.devnull)


class LeasedFlow(Flow[..., Any]):
    """A Prefect flow that runs in a `LeasedFlowRunEngine`."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        # Else Prefect looks for the storage that a setting, a profile or the server names, which may not be there.
        super().__init__(*arguments, **{"result_storage": NOWHERE, **options})

    def serialize_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """The parameters as the API takes them.

        Prefect has FastAPI turn them into JSON: a library for web servers, which takes a tenth of a second to import.
        """
        return {name: sendable(to_jsonable_python(value)) for name, value in parameters.items()}

    def __call__(self, *arguments: Any, return_state: bool = False, **options: Any) -> Any:
        """Runs the flow, as Prefect does."""
        engine = LeasedFlowRunEngine(flow=self, parameters=get_call_parameters(self.fn, arguments, options))
        engine.execute()
        return engine.state if return_state else engine.result()

    def execute(self, flow_run: FlowRun) -> State[Any]:
        """Executes a run that Prefect knows already, to its end; how it ended."""
        filled = fill_empty_fields(flow_run)
        engine = LeasedFlowRunEngine(flow=self, parameters=flow_run.parameters, flow_run=flow_run)
        engine.filled = filled
        engine.execute()
        return engine.state


def ended_on_purpose() -> str:
    """What Prefect shows of a run that a signal ended. Of Ctrl-C alone, Python may raise an exception by itself."""
    number = interruptions[-1] if interruptions else signal.SIGINT
    return ENDED_ON_PURPOSE.format("Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name)


def sendable(value: Any) -> Any:
    """A value of JSON with too large an integer as text: Prefect's server takes it, and can then list no flow run."""
    if isinstance(value, dict):
        return {name: sendable(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [sendable(inner) for inner in value]
    return str(value) if isinstance(value, int) and not -LARGEST <= value <= LARGEST else value


class NamingClient:
    """Prefect's client, but that it gives flow runs a name of ours, for which the engine has no argument."""

    def __init__(self, client: SyncPrefectClient, name: str) -> None:
        self._client, self._name = client, name

    def __getattr__(self, attribute: str) -> Any:
        """Everything else is the client's."""
        return getattr(self._client, attribute)

    def create_flow_run(self, **options: Any) -> FlowRun:
        """A new flow run, named so until it begins and is given the name that its flow has for it."""
        return self._client.create_flow_run(**options, name=self._name)


class LeasedFlowRunEngine(FlowRunEngine[..., Any]):
    """Runs a flow to its end, whether or not that can be reported to Prefect."""

    lease: Lease | None = None
    ended_on_purpose = False
    #: The fields that were left empty in the form, with what the deployment has for them.
    filled: Mapping[str, Any] = {}

    @property
    def run_log(self) -> Any:
        """The log that the run's page shows. Prefect's `logger` is another one until the flow itself begins."""
        return flow_run_logger(cast(FlowRun, self.flow_run))

    def execute(self) -> None:
        """Runs the flow, as Prefect does."""
        try:
            with self.start():
                while self.is_running():
                    with self.run_context():
                        self.call_flow_fn()
        finally:
            self.release_lease()

    def begin_run(self) -> State[Any]:
        """Begins; a run that Prefect knew before gets its lease first, and keeps a name that was typed or given."""
        if self.lease is None and self.flow_run is not None:
            self.lease = acquire_run_lease(project_store().root, self.flow_run.id)
            keep_flow_run_name(self, keep=not is_random(self.flow_run.name))
        state = super().begin_run()
        if self.filled and state.is_running():
            shown = ", ".join(f"{name} {value!r}" for name, value in self.filled.items())
            self.run_log.info("left empty, and therefore as the deployment has it: %s", shown)
        return state

    def call_flow_fn(self) -> None:
        """Calls the flow. Errors in the request are reported as a message, without a traceback."""
        try:
            super().call_flow_fn()
        except InputError as error:
            self.refuse(error)

    def create_flow_run(self, client: SyncPrefectClient) -> FlowRun:
        """A new flow run with its store's tag; its lease bears its first name until it has an id. Signals wait."""
        root, name = project_store().root, uuid4()
        tags = (store_tag(root), *repetition.tags())
        with postponed_interruption():
            self.lease = acquire_run_lease(root, name)
            with tagged(*tags):  # as it is made: what the server says of it later may not know of tags that came after
                flow_run = super().create_flow_run(cast(SyncPrefectClient, NamingClient(client, str(name))))
            self.lease.rename(lease_path(root, flow_run.id))
        return flow_run

    def handle_exception(self, exc: Exception, *arguments: Any, **options: Any) -> State[Any]:
        """Reports that the run failed; parameters that are not valid, or lead nowhere, need no traceback."""
        if isinstance(exc, ParameterTypeError):
            # What pydantic puts before a sentence of ours says nothing to a person who filled in a form.
            return self.refuse(ParameterTypeError(str(exc).replace(": Value error, ", ": ")))
        if isinstance(exc.__cause__, ExperimentError):
            return self.refuse(exc)
        return super().handle_exception(exc, *arguments, **options)

    def refuse(self, error: Exception) -> State[Any]:
        """Ends the run Failed, with what is wrong as its message and in its log, where a person looks for it."""
        self.run_log.error("%s\n%s", error, RETRY_IS_NO_USE)
        keep_error(self, error)
        return self.set_state(Failed(message=str(error)))

    def handle_crash(self, exc: BaseException) -> None:
        """Reports that the run ended by an exception that is none of its stages'."""
        if isinstance(exc, KeyboardInterrupt | TerminationSignal):
            self.ended_on_purpose = True
            message = ended_on_purpose()
            self.logger.info(message)
            self.set_state(Cancelled(message=message), force=True)
            keep_error(self, exc)
        else:
            super().handle_crash(exc)

    def set_state(self, state: State[Any], force: bool = False) -> State[Any]:
        """Reports a state to Prefect; one that is final and cannot be reported is kept for the next start."""
        if interruptions and (state.is_failed() or state.is_crashed()):
            # A library made an error of its own out of the interruption.
            self.ended_on_purpose, state = True, Cancelled(message=ended_on_purpose())
        mine, started = contact.get(), time.monotonic()
        try:
            # There is no waiting for a server that was silent just now, nor after Ctrl-C.
            with (
                once_only() if mine.is_lost or self.ended_on_purpose or state.is_crashed() else contextlib.nullcontext()
            ):
                accepted = super().set_state(state, force)
        except (*UNANSWERED, Abort) as error:  # a server may refuse a state: what was made is there all the same
            if self.lease is None or self.flow_run is None or not state.is_final():
                raise
            self.logger.warning("this could not be reported to Prefect: %s", reason(error))
            mine.fail(error, time.monotonic() - started)
            self.lease.write(dump_final_state(state))
            self.flow_run.state = state
            return state
        if self.lease is not None and accepted.is_final():
            self.lease.end()
        return accepted

    def release_lease(self) -> None:
        """Releases the lease; if it has not ended, the next start finds that it has expired."""
        if self.lease is not None:
            self.lease.release()
