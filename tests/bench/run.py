"""`make bench`: what orchestration costs, measured against a plain script, a naive flow and the notebook's loop.

Every figure is a ratio to something measured in the same minute, as whole processes in turn (A B A B …), so that it
holds on a noisy machine. Exits with 1 if a budget is not kept.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
PYTHON = sys.executable
WORKFLOW = [PYTHON, "-m", "flows.cli"]


@dataclass(frozen=True)
class Budget:
    """A row of the table: what was measured, its median ratio, and what is allowed."""

    name: str
    ratio: float
    limit: float
    detail: str

    @property
    def kept(self) -> bool:
        return self.ratio <= self.limit


def seconds(command: Sequence[str], environment: dict[str, str]) -> float:
    """Wall-clock seconds of a command, as a whole process."""
    started = time.perf_counter()
    done = subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True, check=False)
    elapsed = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return elapsed


def medians(rounds: int, **steps: Callable[[], float]) -> dict[str, float]:
    """The median of each step's seconds over rounds in which every step is taken once, in turn."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            taken[name].append(step())
    return {name: statistics.median(values) for name, values in taken.items()}


def environment_of(home: Path) -> dict[str, str]:
    """The environment of a project in a folder of its own."""
    environment = os.environ | {"WORKFLOW_HOME": str(home), "PYTHONPATH": str(PROJECT), "DO_NOT_TRACK": "1"}
    # Python keeps compiled modules unless it is not to, as some containers do.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def printed(command: Sequence[str], environment: dict[str, str]) -> Any:
    """What a command prints as JSON."""
    done = subprocess.run(command, env=environment, cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def measure_flows(rounds: int, home: Path) -> list[Budget]:
    """The train flow against the plain script: everything computed, nothing changed, one setting changed, planned."""
    environment = environment_of(home)
    train = [*WORKFLOW, "train", "line", "--json"]
    rates = iter(range(1, 1000))

    def changed() -> float:
        return seconds([*train, "--training.learning-rate", f"{0.01 + next(rates) * 1e-5}"], environment)

    seconds(train, environment)
    taken = medians(
        rounds,
        script=lambda: seconds([PYTHON, str(HERE / "plain_script.py"), str(home / "plain")], environment),
        computed=lambda: seconds([*train, "--refresh", "all", "--verify"], environment),
        # Back to the preset, which the round's last change has left; not counted.
        _back=lambda: seconds(train, environment),
        cached=lambda: seconds(train, environment),
        changed=changed,
        plan=lambda: seconds([*WORKFLOW, "plan", "line"], environment),
        nothing=lambda: seconds([PYTHON, "-c", "pass"], environment),
    )
    script = taken["script"]

    def against_script(name: str, step: str, limit: float) -> Budget:
        return Budget(name, taken[step] / script, limit, f"{taken[step]:.2f} s against {script:.2f} s of the script")

    over = taken["plan"] - taken["nothing"]
    return [
        against_script("everything computed, and verified", "computed", 1.5),
        against_script("nothing changed", "cached", 0.4),
        against_script("only the learning rate changed", "changed", 1.3),
        against_script("plan", "plan", 0.2),
        Budget("plan, seconds above `python -c pass`", over, 0.5, f"{taken['plan']:.2f} s"),
    ]


def measure_naive(rounds: int, home: Path) -> list[Budget]:
    """The train flow against the same stages as a naive Prefect flow, nothing changed: with one server, and alone."""
    environment = environment_of(home)
    url = printed([*WORKFLOW, "server", "status", "--json"], environment)["ui"]
    naive = [PYTHON, str(HERE / "naive_flow.py"), str(home / "naive")]
    password = (home / ".prefect" / "password").read_text()
    served = environment | {"PREFECT_HOME": str(home / "naive-home")}
    served |= {"PREFECT_API_URL": f"{url}/api", "PREFECT_API_AUTH_STRING": password}
    alone = environment | {"PREFECT_PROFILE": "ephemeral", "PREFECT_HOME": str(home / "naive-home")}
    train = [*WORKFLOW, "train", "line", "--json"]
    steps: dict[str, Callable[[], float]] = {
        "ours": lambda: seconds(train, environment),
        "naive": lambda: seconds(naive, served),
        "ours_alone": lambda: seconds([*train, "--ephemeral"], environment),
        "naive_alone": lambda: seconds(naive, alone),
    }
    for step in steps.values():
        step()
    taken = medians(rounds, **steps)
    return [
        Budget(f"nothing changed, {how}", taken[ours] / taken[other], 0.6, f"{taken[ours]:.2f} s, {taken[other]:.2f} s")
        for how, ours, other in (
            ("against a naive flow", "ours", "naive"),
            ("the same without a server", "ours_alone", "naive_alone"),
        )
    ]


def measure_ui(rounds: int, home: Path) -> list[Budget]:
    """What a run takes to show itself in the UI, in seconds and as a part of a training of about a minute."""
    command = [PYTHON, str(HERE / "ui_cost.py")]
    short = [printed([*command, "180"], environment_of(home))["shown"] for _ in range(rounds)]
    long = printed([*command, "1000000"], environment_of(home))
    return [
        Budget("pages, progress and plan, seconds a run", statistics.median(short), 0.2, ""),
        Budget("the same, of a long training", long["shown"] / long["flow"], 0.02, f"of {long['flow']:.0f} s"),
    ]


def measure_latency(rounds: int, home: Path) -> list[Budget]:
    """How long runs wait under `workflow serve`, in seconds."""
    waits = printed([PYTHON, str(HERE / "latency.py"), str(rounds)], environment_of(home))
    first, verification = (statistics.median(values) for values in zip(*waits, strict=True))
    return [
        Budget("serve: request to first stage, seconds", first, 3.0, ""),
        Budget("serve: trained to verification, seconds", verification, 2.0, ""),
    ]


def measure_loop(rounds: int) -> list[Budget]:
    """The training loop against the notebook's, per epoch; both in one process, in turn."""
    done = subprocess.run(
        [PYTHON, str(HERE / "loops.py"), str(rounds)],
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=True,
    )
    taken = json.loads(done.stdout)
    ratio = taken["ours"] / taken["notebook"]
    detail = f"{taken['ours'] * 1e6:.0f} µs against {taken['notebook'] * 1e6:.0f} µs an epoch"
    return [Budget("training loop, 50 rows", ratio, 0.85, detail)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="how often each command is run (default: %(default)s)")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        try:
            budgets = measure_loop(rounds) + measure_flows(rounds, home) + measure_naive(rounds, home)
            budgets += measure_ui(rounds, home) + measure_latency(rounds, home)
        finally:
            seconds([*WORKFLOW, "server", "stop"], os.environ | {"WORKFLOW_HOME": str(home)})
    for budget in budgets:
        verdict = "kept" if budget.kept else "NOT KEPT"
        print(f"{budget.name:<43} {budget.ratio:6.3f}  (at most {budget.limit:.2f}, {verdict:<8})  {budget.detail}")
    sys.exit(not all(budget.kept for budget in budgets))


if __name__ == "__main__":
    main()
