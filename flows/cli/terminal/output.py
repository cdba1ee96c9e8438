"""What a command prints: lines for people, JSON for programs, and on the error stream what concerns neither."""

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from flows.environment.checkout import working_folder
from flows.environment.settings import Api
from flows.runs.folders import RunFolder
from flows.runs.wording import acceptance, printable
from flows.services.prefect_server.sign_in import UiPage
from tasks.caching.observer import extra_observers


@contextlib.contextmanager
def stage_lines(*, quiet: bool) -> Iterator[None]:
    """Shows in the terminal what becomes of each stage."""
    if quiet:
        yield
        return
    from flows.cli.terminal.console import StageLines

    lines = StageLines()
    token = extra_observers.set((*extra_observers.get(), lines))
    try:
        yield
    finally:
        lines.close()
        extra_observers.reset(token)


def print_notice(text: str) -> None:
    """Prints a notice on the error stream, which programs that read the output do not see."""
    with contextlib.suppress(OSError):  # a terminal that was closed is no reason to end otherwise
        sys.stderr.write(f"{printable(text)}\n")


def print_heading(text: str, *, quiet: bool) -> None:
    """Prints the heading of what comes next, unless `quiet`."""
    if not quiet:
        from flows.cli.terminal.console import console, escape

        console.print(f"[bold]{escape(text)}[/]", soft_wrap=True)


def print_places(run: RunFolder, rejections: Sequence[str] | None, api: Api | None, *, as_json: bool) -> None:
    """Prints where a run's checkpoint and report are, the digest that stands for it, and where the UI is.

    Args:
        run: to print.
        rejections: why it is not accepted; None if its experiment demands nothing.
        api: whose UI shows it; None if none does.
        as_json: for programs.
    """
    ui = UiPage(api) if api else None
    if as_json:
        print_json(run.summary() | {"rejections": rejections, "ui": ui and ui.address})
        return
    folder = shown_path(run.folder)
    print_line(f"\nrun         {run.folder.name}")
    print_line(f"checkpoint  {folder / run.manifest.checkpoint}")
    print_line(f"report      {folder / 'report.html'}")
    print_line(f"run.json    SHA-256 {run.digest}")
    if rejections is not None:
        print_line(f"accepted    {acceptance(rejections)}")
    if ui:
        print_line(f"Prefect UI  {ui.link(sys.stdout)}")


def shown_path(path: Path) -> Path:
    """A path as a person can use it where the command was started: relative to there if it lies below.

    Args:
        path: an absolute one.
    """
    here = working_folder()
    return path.relative_to(here) if here is not None and path.is_relative_to(here) else path


def print_line(text: str) -> None:
    """Prints a line for people."""
    from flows.cli.terminal.console import console, escape

    console.print(escape(text), soft_wrap=True)


def print_plain(text: str) -> None:
    """Prints a line for people, without what draws tables and colours, which takes a while to import."""
    sys.stdout.write(f"{printable(text)}\n")


def print_json(value: Any) -> None:
    """Prints a value for programs."""
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")
