"""What people see in the terminal: tables, a line a stage, a progress bar. Colour and motion only on a terminal."""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal

from rich import markup
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from flows.runs.folders import RunFolder
from flows.runs.history import DIGESTS, METRICS, RunHistory
from flows.runs.wording import acceptance, figure, printable, setting, shown_figures
from tasks.caching.decision import Decision
from tasks.caching.key import flatten
from tasks.caching.observer import Observer
from tasks.caching.reasons import PlannedStatus, Reason
from tasks.caching.stage import StageReport
from tasks.learning.config.experiment import Experiment

if TYPE_CHECKING:
    from flows.maintenance.reproduce import Reproduction
    from flows.maintenance.selftest import ResumeReport

#: The colours of what a plan says of a stage, and of the states in which Prefect shows one that has ended.
STYLES: dict[PlannedStatus | Literal["Cached", "Completed"], str] = {
    "reused": "green",
    "Cached": "green",
    "will run": "yellow",
    "Completed": "yellow",
    "depends": "cyan",
    "not reached": "dim",
}


def escape(text: str) -> str:
    """A text that is shown as it is, whatever it holds."""
    return markup.escape(printable(text))


class RateColumn(ProgressColumn):
    """Epochs a second."""

    def render(self, task: Task) -> Text:
        """The rate of late; nothing before it is known."""
        return Text(f"{task.speed:,.0f} epochs/s" if task.speed else "")


class PipeSafeConsole(Console):
    """A console that falls silent when its reader has closed the pipe: no reason to stop a training."""

    def on_broken_pipe(self) -> None:
        """Writes nowhere from now on; called by rich."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


console = PipeSafeConsole(highlight=False)
if not console.is_terminal:
    console.width = 200  # without a window none is too narrow: lines stay whole for grep and logs


class StageLines(Observer):
    """Prints a line for each stage as it ends, and a progress bar while one runs on a terminal."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def on_stage_start(self, stage: str, reasons: tuple[Reason, ...]) -> None:
        """Opens a bar, which shows as soon as the stage reports progress."""
        if console.is_terminal:
            columns = (
                TextColumn("  {task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[figures]}"),
                RateColumn(),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=console, transient=True)
            self._task = self._bar.add_task(stage, total=None, figures="")

    def on_progress(self, stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        """Moves the bar."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total, figures=shown_figures(figures))
            self._bar.start()  # only now, when it has something to show

    def on_notice(self, stage: str, text: str) -> None:
        """Prints what the stage reports."""
        console.print(f"  {stage:<9} {escape(text)}", soft_wrap=True)

    def on_stage_end(self, report: StageReport) -> None:
        """Prints the stage's line: its state as Prefect shows it, its seconds, and why."""
        self.close()
        state: Literal["Cached", "Completed"] = "Cached" if report.status == "reused" else "Completed"
        time = "" if report.status == "reused" else f"{report.seconds:.2f} s"
        why = escape("; ".join(map(str, report.reasons)))
        console.print(f"  {report.name:<9} [{STYLES[state]}]{state:<9}[/] {time:>8}  {why}", soft_wrap=True)

    def on_failure(self, error: Exception) -> None:
        """Takes the bar away: the error is printed by the command."""
        self.close()

    def close(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.stop()
        self._bar = None


def print_plan(experiment: str, decisions: Iterable[Decision]) -> None:
    """Prints the plan as a table."""
    table = plain_table("stage", "plan", "why", title=f"Plan for {experiment}")
    for decision in decisions:
        status = f"[{STYLES[decision.status]}]{decision.status}[/]"
        table.add_row(decision.stage, status, escape("\n".join(map(str, decision.reasons))))
    console.print(table)


def print_runs(runs: Iterable[tuple[RunFolder, Sequence[str] | None]]) -> None:
    """Prints the runs as a table, oldest first.

    Args:
        runs: each with why it is not accepted; None where nothing is demanded of it.
    """
    header = ("run", "experiment", "device", "loss", "MAE", "R²", "verified", "accepted")
    table = plain_table(*header, title="Runs, with test metrics")
    for run, rejections in runs:
        test = run.metrics["test"]
        row = (run.manifest.run, run.manifest.experiment["name"], run.manifest.environment.device)
        numbers = (figure(test[name], digits=4) for name in ("loss", "mae", "r2"))
        table.add_row(*map(escape, row), *numbers, verdict(run.verified), accepted(rejections))
    console.print(table)


def print_history(history: RunHistory, plots: Iterable[PurePath], page: str | None) -> None:
    """Prints an experiment's runs, oldest first, what of them is outside its band, and where the plots are."""
    header = ("run", *METRICS.values(), "verified", "changed")
    metrics = plain_table(*header, title=f"Runs of {history.experiment}, with test metrics")
    made = plain_table("run", "when", "device", *DIGESTS, title="What they made, by SHA-256")
    for row in history.rows:
        numbers = {name: figure(value, digits=4) for name, value in row.metrics.items()}
        colours = (f"[red]{text}[/]" if name in row.outside else text for name, text in numbers.items())
        metrics.add_row(row.run, *colours, verdict(row.verified), escape(row.changes))
        made.add_row(row.run, escape(row.when), escape(row.device), *(digest[:12] for digest in row.digests.values()))
    console.print(metrics, "", made, "", sep="\n")
    for row in history.rows:
        if row.outside:
            console.print(f"{row.run}  [red]{escape('; '.join(row.flags))}[/]", soft_wrap=True)
        if row.rejections:
            console.print(f"{row.run}  [red]not accepted: {escape('; '.join(row.rejections))}[/]", soft_wrap=True)
    console.print(f"{history.verdict}.\n", soft_wrap=True)
    for path in plots:
        console.print(f"plot        {escape(str(path))}", soft_wrap=True)
    if page:
        console.print(f"Prefect UI  {page}", soft_wrap=True)


def verdict(verified: bool | None) -> str:
    """Whether a run was verified, in a word."""
    if verified is None:
        return "not yet"
    return "[green]yes[/]" if verified else "[red]FAILED[/]"


def accepted(rejections: Sequence[str] | None) -> str:
    """Whether a run is accepted, in a word."""
    return "–" if rejections is None else "[red]no[/]" if rejections else "[green]yes[/]"


def print_run(run: RunFolder, rejections: Sequence[str] | None) -> None:
    """Prints all about one run: its stages, its metrics, its configuration and its files.

    Args:
        run: to print.
        rejections: why it is not accepted; None if its experiment demands nothing.
    """
    manifest, environment = run.manifest, run.manifest.environment
    console.print(
        f"[bold]{escape(manifest.run)}[/]  made {escape(manifest.created)} on {escape(environment.device)}",
        soft_wrap=True,
    )
    console.print(f"verified    {verdict(run.verified)}")
    if rejections is not None:
        console.print(f"accepted    {escape(acceptance(rejections))}", soft_wrap=True)
    console.print(f"folder      {escape(str(run.folder))}", soft_wrap=True)
    console.print(f"run.json    SHA-256 {run.digest}\n", soft_wrap=True)
    stages = plain_table("stage", "status", "seconds", "why", title="Stages")
    for stage in manifest.stages:
        seconds = "" if stage.seconds is None else f"{stage.seconds:.2f}"
        stages.add_row(
            escape(stage.name), stage.status.replace("running", "run"), seconds, escape("; ".join(stage.reasons))
        )
    console.print(stages, "")
    print_rows("metric", {name: dict(values) for name, values in run.metrics.items()}, title="Metrics")
    console.print("")
    settings = plain_table("setting", "value", title="Configuration")
    for name, value in flatten(manifest.experiment).items():
        settings.add_row(escape(name), escape(setting(name, value)))
    console.print(settings)


def print_comparison(comparison: Mapping[str, Any]) -> None:
    """Prints what differs between runs: configuration, then metrics, a column a run."""
    for title in ("configuration", "metrics"):
        columns: dict[str, dict[str, Any]] = {run: {} for run in comparison["runs"]}
        for name, values in comparison[title].items():
            for run, value in zip(columns, values, strict=True):
                columns[run][name] = value
        if comparison[title]:
            print_rows("setting" if title == "configuration" else "metric", columns, title=title.capitalize())
        else:
            console.print("The configurations are the same.")
        console.print("")


def print_presets(experiments: Mapping[str, Experiment]) -> None:
    """Prints the presets as a table: what each one fits, how, and where."""
    table = plain_table("preset", "data", "model", "training", "device", title="Presets")
    for name, experiment in experiments.items():
        data, training = experiment.data, experiment.training
        rows = data.summary if data.row_count is None else f"{data.summary}, {data.row_count} rows"
        how = f"{training.loss}, {training.optimizer} {training.learning_rate:g}, {training.epochs} epochs"
        table.add_row(name, rows, experiment.model.kind, how, training.device)
    console.print(table)


def print_resume_report(report: "ResumeReport") -> None:
    """Prints what came of killing a training: its artifacts with and without the kills, and the verdict."""
    table = plain_table("output", "left alone", "killed", "", title="Artifacts of the train stage, by SHA-256")
    for name, (without, killed) in report.outputs.items():
        table.add_row(
            name, without[:12], killed[:12], "[green]identical[/]" if without == killed else "[red]DIFFERENT[/]"
        )
    console.print(table, "")
    for what, epochs in (("killed after", report.killed_after), ("resumed after", report.resumed_after)):
        console.print(f"{what:<14} epoch {', '.join(f'{epoch:,}' for epoch in epochs) or 'none'}", soft_wrap=True)
    console.print("[green]passed[/]" if report.passed else "[red]FAILED[/]")


def print_reproduction(report: "Reproduction") -> None:
    """Prints how the stages of a repeated run compare, and where the two took place if not in the same place."""
    colours = {"identical": "green", "within tolerance": "yellow", "different": "red"}
    table = plain_table("stage", "outcome", "difference", "what and why", title=f"{report.run}, repeated")
    for stage in report.stages:
        largest = "" if stage.largest is None else f"{stage.largest:.3g}"
        details = "\n".join((*((", ".join(stage.unequal),) if stage.unequal else ()), *stage.reasons))
        table.add_row(stage.name, f"[{colours[stage.outcome]}]{stage.outcome}[/]", largest, escape(details))
    console.print(table, "")
    for change in report.environment:
        console.print(escape(change), soft_wrap=True)
    console.print("[green]reproduced[/]" if report.passed else "[red]NOT reproduced[/]")


def print_rows(label: str, columns: Mapping[str, Mapping[str, Any]], title: str) -> None:
    """Prints values side by side: a row for each name, a column for each of `columns`."""
    table = plain_table(label, *map(escape, columns), title=title)
    for name in dict.fromkeys(name for values in columns.values() for name in values):
        table.add_row(escape(name), *(escape(setting(name, values.get(name))) for values in columns.values()))
    console.print(table)


def plain_table(*header: str, title: str) -> Table:
    """An empty table in the project's style."""
    table = Table(title=escape(title), title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for place, name in enumerate(header):
        # The first column names the rows: what it says is to be copied in one piece.
        table.add_column(name, overflow="fold", no_wrap=place == 0)
    return table
