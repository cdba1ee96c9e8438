import io
import os
import subprocess
import sys

import pytest
from rich.console import Console

from flows.cli.terminal import console
from flows.cli.terminal.console import StageLines, print_comparison, print_plan, print_presets, print_run, print_runs
from flows.config.experiments import load_experiment
from flows.runs.folders import find_run
from tasks.caching.decision import Decision
from tasks.caching.stage import StageReport
from tasks.caching.storage.store import Store


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is printed when the output is no terminal."""
    output = io.StringIO()
    monkeypatch.setattr(console, "console", Console(file=output, width=200, highlight=False))
    return output


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is printed on a terminal."""
    output = io.StringIO()
    monkeypatch.setattr(console, "console", Console(file=output, width=200, highlight=False, force_terminal=True))
    return output


def report(status: str, reason: str) -> StageReport:
    return StageReport("train", "0" * 64, status, (reason,), 1.234)


def test_a_stage_has_a_line_with_its_state_its_seconds_and_why(printed: io.StringIO) -> None:
    StageLines().on_stage_end(report("run", "epochs 1 → 2"))
    StageLines().on_stage_end(report("reused", "unchanged"))
    first, second = printed.getvalue().splitlines()
    assert first.split() == ["train", "Completed", "1.23", "s", "epochs", "1", "→", "2"]
    assert second.split() == ["train", "Cached", "unchanged"]


def test_colour_and_motion_are_for_terminals_only(printed: io.StringIO) -> None:
    lines = StageLines()
    lines.on_stage_start("train", ())
    lines.on_progress("train", 1, 2, {"training loss": 0.5})
    lines.on_stage_end(report("run", "x"))
    assert "\x1b" not in printed.getvalue()
    assert len(printed.getvalue().splitlines()) == 1


def test_on_a_terminal_a_bar_shows_how_far_a_stage_has_come(terminal: io.StringIO) -> None:
    lines = StageLines()
    lines.on_stage_start("train", ())
    lines.on_progress("train", 90, 180, {"training loss": 0.25})
    lines.on_stage_end(report("run", "x"))
    assert "90/180" in terminal.getvalue()
    assert "loss 0.25" in terminal.getvalue()
    assert "\x1b[33mCompleted" in terminal.getvalue()


def test_an_unfinished_bar_is_removed(terminal: io.StringIO) -> None:
    lines = StageLines()
    lines.on_stage_start("train", ())
    lines.on_progress("train", 1, 2, {"training loss": 0.5})
    lines.close()
    lines.close()
    assert terminal.getvalue().endswith("\x1b[?25h") or "\x1b[?25h" in terminal.getvalue()  # the cursor is back


def test_what_looks_like_markup_is_printed_as_it_is(printed: io.StringIO) -> None:
    StageLines().on_stage_end(report("run", "shape [1, 1] [bold]x[/] [/nope]"))
    print_plan("line", [Decision("train", "will run", ("[red]", "[/]"))])
    assert "shape [1, 1] [bold]x[/] [/nope]" in printed.getvalue()
    assert "[red]" in printed.getvalue()


def test_a_plan_has_a_line_for_each_reason(printed: io.StringIO) -> None:
    print_plan("line", [Decision("train", "depends", ("depends on the outcome of split", "epochs 1 → 2"))])
    assert printed.getvalue().splitlines()[-2].split()[:2] == ["train", "depends"]
    assert printed.getvalue().splitlines()[-1].strip() == "epochs 1 → 2"


def test_runs_are_a_table(printed: io.StringIO, trained: Store) -> None:
    run = find_run("latest", trained)
    print_runs([(run, None), (run, ()), (run, ("r2 0.6 is below accept.min_r2 0.9",))])
    rows = [line.split() for line in printed.getvalue().splitlines()[-3:]]
    assert [row[-1] for row in rows] == ["–", "yes", "no"]
    row = rows[0]
    assert (row[:3], row[-2]) == ([run.manifest.run, "line", "cpu"], "yes")
    assert [float(value) for value in row[3:-2]] == pytest.approx([0.02529, 0.02529, 0.6035], rel=1e-3)


def test_a_run_is_shown_with_stages_metrics_and_configuration(printed: io.StringIO, trained: Store) -> None:
    print_run(find_run("latest", trained), None)
    words = [line.split() for line in printed.getvalue().splitlines()]
    assert ["verified", "yes"] in words
    assert ["training.learning_rate", "0.03"] in words
    assert ["training.epochs", "180"] in words
    assert any(line[:2] == ["evaluate", "run"] for line in words)
    assert any(line[:1] == ["largest_error"] for line in words)


def test_equal_configurations_are_said_to_be_equal(printed: io.StringIO) -> None:
    print_comparison({"runs": ["a", "b"], "configuration": {}, "metrics": {"test.mae": [1.0, None]}})
    assert "The configurations are the same." in printed.getvalue()
    assert ["test.mae", "1", "–"] in [line.split() for line in printed.getvalue().splitlines()]


def test_presets_say_what_they_fit(printed: io.StringIO) -> None:
    print_presets({"line-cuda": load_experiment("line-cuda")})
    assert "y = 1.1·x − 0.4, 50 rows" in printed.getvalue()


def test_a_closed_pipe_stops_nothing() -> None:
    lines = "for _ in range(3): console.print('x' * 100_000)"
    code = f"import sys\nfrom flows.cli.terminal.console import console\n{lines}\nprint('on', file=sys.stderr)"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "on\n")
