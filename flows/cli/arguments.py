"""What the commands take: the arguments that several of them share."""

import re
from typing import Annotated, Any

from cyclopts import Parameter, validators

from flows.config.options import ExperimentOptions
from flows.train import Refreshable, StageName

AT_LEAST_ONE = validators.Number(gte=1)
UNCHANGED: Any = ExperimentOptions()
Source = Annotated[str, Parameter(help="A preset (see `workflow presets`) or the path of a TOML file.")]
RunArgument = Annotated[str, Parameter(help="A run's name, its folder's path, `latest` or `EXPERIMENT-latest`.")]
#: The heading of the experiment's fields in the help.
FIELDS = "Experiment: every field may be changed; a default is that of a file without the field"
Changes = Annotated[ExperimentOptions, Parameter(name="*", group=FIELDS)]  # type: ignore[valid-type]
Refresh = Annotated[
    list[Refreshable] | None,
    Parameter(negative=(), help="Run this stage even if cached; may be repeated, or `all`."),
]
Until = Annotated[StageName | None, Parameter(help="The last stage to run.")]
AsJson = Annotated[bool, Parameter(name="--json", negative=(), help="Print JSON, for programs.")]
Ephemeral = Annotated[bool, Parameter(negative=(), help="Use a Prefect server that ends with this command.")]


def is_digest(kind: Any, value: str | None) -> None:
    """Checks that an option is a SHA-256; called by the parser of the command line.

    Raises:
        ValueError: it is none.
    """
    if value is not None and not re.fullmatch(r"[0-9a-f]{64}", value):
        raise ValueError("must be a SHA-256: 64 hexadecimal digits, as `workflow train` and `sha256sum` print them")


def given(options: Any) -> dict[str, Any]:
    """The options that were given on the command line, nested like the experiment."""
    changes: dict[str, Any] = options.model_dump(exclude_unset=True)
    return changes
