"""Ctrl-C while a command imports what it needs, from the first line of the project's code on."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = str(Path(sys.executable).with_name("workflow"))

#: The commands, each as a person or another process starts it.
COMMANDS = {
    "workflow": (SCRIPT, "presets"),
    "python -m flows.cli": (sys.executable, "-P", "-m", "flows.cli", "presets"),
    "python -m flows.train": (sys.executable, "-m", "flows.train", "line"),
    "python -m flows.verify": (sys.executable, "-m", "flows.verify"),
    "python -m flows.cli.stop": (sys.executable, "-m", "flows.cli.stop"),
}

#: Python imports this module by itself when it starts: it sends a signal to the process at one of its imports. They are
#: counted from the first one that a line of the project asks for.
SITE = """
import os, signal, sys

class Sender:
    left = int(os.environ["SIGNAL_AT"])

    def find_spec(self, name, path=None, target=None):
        if "flows" in sys.modules and name != "flows":
            Sender.left -= 1
            if Sender.left == 0:
                signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Sender())
"""

#: The first import, and some of the next hundred, which all commands come to.
INSTANTS = (1, *sorted(random.Random(27).sample(range(2, 100), 4)))


def run_interrupted(instant: int, *words: str, home: Path) -> "subprocess.CompletedProcess[str]":
    (home / "site").mkdir()
    (home / "site/sitecustomize.py").write_text(SITE)
    environment = os.environ | {"SIGNAL_AT": str(instant), "WORKFLOW_HOME": str(home)}
    environment["PYTHONPATH"] = os.pathsep.join((str(home / "site"), str(Path(__file__).parents[3])))
    return subprocess.run(words, env=environment, cwd=home, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("instant", INSTANTS)
@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_while_a_command_is_imported_ends_it_without_a_word(command: str, instant: int, tmp_path: Path) -> None:
    done = run_interrupted(instant, *COMMANDS[command], home=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGINT, "", "")


def test_a_program_that_imports_the_project_is_interrupted_as_python_does_it(tmp_path: Path) -> None:
    code = "try:\n    import flows\nexcept KeyboardInterrupt:\n    print('its own way')"
    done = run_interrupted(1, sys.executable, "-c", code, home=tmp_path)
    assert (done.returncode, done.stdout) == (0, "its own way\n")


def test_a_command_that_is_to_ignore_ctrl_c_does(tmp_path: Path) -> None:
    """As a shell starts what runs in the background of a script."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        done = run_interrupted(1, *COMMANDS["workflow"], home=tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)
    assert done.returncode == 0, done.stderr
    assert "line" in done.stdout
