"""The commands `workflow server …`."""

import sys

from cyclopts import App

from flows.cli.arguments import AsJson
from flows.cli.terminal.output import print_json, print_line, print_notice, print_plain
from flows.services.prefect_server.sign_in import UiPage
from tasks.caching.storage.store import project_store

server_app = App(name="server", help="The project's own Prefect server, on this machine only.")


@server_app.command
def start() -> None:
    """Start the server in the background, unless it runs already."""
    from flows.services.prefect_server import server

    root = project_store().root
    print_line(f"Prefect UI  {UiPage(server.own_api(server.start(root, print_notice), root)).link(sys.stdout)}")


@server_app.command
def stop() -> None:
    """Stop the server, and `workflow serve` before it."""
    from flows.services.stop import stop

    for line in stop(project_store().root):
        print_line(line)


@server_app.command
def status(*, as_json: AsJson = False) -> None:
    """Say whether the server that a run would use answers, and where it is."""
    from flows.services.prefect_server import server

    found = server.status(project_store().root)
    page = UiPage(found.api) if found.api else None
    if as_json:
        since = found.since.isoformat() if found.since else None
        print_json({"state": found.state, "ui": page and page.address, "pid": found.pid, "since": since})
    else:
        link = page.link(sys.stdout) if page else None
        process = f"process {found.pid}" if found.pid else None
        print_line("  ".join(filter(None, (found.state, link, process))))
        if found.state == "not trusted":
            print_notice(found.describe())


@server_app.command
def env() -> None:
    """Print what Prefect's own command needs to use the server, for a shell: `eval "$(workflow server env)"`."""
    import shlex

    from flows.services.prefect_server import server

    api = server.running_api(project_store().root)
    print_plain(f"export PREFECT_API_URL={api.url}")
    print_plain(f"export PREFECT_API_AUTH_STRING={shlex.quote(api.password or '')}")
