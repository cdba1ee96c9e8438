"""Whether this process only repeats a training, in an empty store that is soon gone, as `workflow reproduce` does.

Such a flow run is marked as what it is, announces nothing, and puts no page over the experiment's own.
"""

from contextvars import ContextVar

#: The command that repeats a training, such as `reproduce`; empty where the training is meant for itself.
purpose: ContextVar[str] = ContextVar("purpose", default="")


def tags() -> list[str]:
    """The tags of a flow run that only repeats: `repetition`, and the command; none of any other."""
    return ["repetition", purpose.get()] if purpose.get() else []
