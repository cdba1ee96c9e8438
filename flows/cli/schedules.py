"""The commands `workflow schedules …`."""

from dataclasses import asdict
from typing import Annotated

from cyclopts import App, Parameter

from flows.cli.alerts import prefect_client
from flows.cli.arguments import AsJson
from flows.cli.terminal.output import print_json, print_line
from flows.services import serve_process
from tasks.caching.storage.store import project_store

schedules_app: App = App(name="schedules", help="The schedules that Prefect's server has for this project's trainings.")


@schedules_app.command(name="list")
def list_schedules(*, as_json: AsJson = False) -> None:
    """List the schedules: active, paused by a person, or paused because their file is no longer offered."""
    from flows.deploy.schedules import list_scheduled

    with prefect_client() as client:
        found = list_scheduled(client, project_store().root)
    if as_json:
        print_json([asdict(scheduled) for scheduled in found])
        return
    for scheduled in found:
        print_line(f"train/{scheduled.name}  {', '.join(scheduled.rules)}  {scheduled.state}")
    if not found:
        print_line("There are no schedules: `workflow serve FILE --cron …` makes one.")


@schedules_app.command
def remove(
    experiment: Annotated[str, Parameter(help="The name of an experiment that `workflow schedules list` lists.")], /
) -> None:
    """Remove the schedule of an experiment, with its deployment and the runs that are planned."""
    from flows.deploy.schedules import remove_scheduled

    root = project_store().root
    with prefect_client() as client:
        remove_scheduled(client, experiment, root, serving=serve_process.find(root) is not None)
    print_line(f"train/{experiment} and its schedule were removed.")
