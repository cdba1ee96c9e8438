"""The unit files in docs/systemd are what systemd takes without a remark, for a project in any folder."""

import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[1] / "docs" / "systemd"
NAMES = sorted(path.name for path in UNITS.glob("*.service"))

needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd: apt-get install systemd")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with what the units start, in a folder whose name has to be escaped."""
    programs = tmp_path / "my project-1" / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("prefect", "workflow"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    return programs.parents[1]


def verify(units: Path, project: Path) -> str:
    """What systemd remarks about the units of a project."""
    escaped = ["systemd-escape", "--path", str(project)]
    instance = subprocess.run(escaped, check=True, capture_output=True, text=True).stdout.strip()
    names = [name.replace("@", f"@{instance}") for name in NAMES]
    command = ["systemd-analyze", "verify", "--man=no", *(str(units / name) for name in names)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.stdout + done.stderr + (f"exit code {done.returncode}" if done.returncode else "")


def test_there_is_a_unit_for_each() -> None:
    assert NAMES == ["workflow-serve@.service", "workflow-server@.service"]


@needs_systemd
def test_the_units_are_valid(project: Path) -> None:
    assert verify(UNITS, project) == ""


@needs_systemd
@pytest.mark.parametrize("name", NAMES)
def test_a_mistake_in_one_is_found(name: str, project: Path, tmp_path: Path) -> None:
    units = shutil.copytree(UNITS, tmp_path / "units")
    text = (units / name).read_text()
    (units / name).write_text(text.replace("Restart=on-failure", "Restart=sometimes").replace(".venv/bin", ".venv/bim"))
    remarks = verify(units, project)
    assert "restart" in remarks
    assert "is not executable" in remarks
