"""Where a run takes place, for its manifest."""

import importlib.metadata
import platform
import shutil
import subprocess
from pathlib import Path

from tasks.caching.manifest import Environment

#: The folder of the project's code, which a checkout of it has its history in.
PROJECT = Path(__file__).resolve().parents[2]

#: Libraries whose versions the manifest tells.
LIBRARIES = ("torch", "prefect", "numpy", "pandas", "pyarrow", "matplotlib", "pydantic")

#: Seconds that git may take; a manifest without a commit is better than a run that hangs.
GIT_SECONDS = 10.0


def describe_environment(device: str, device_note: str, threads: int) -> Environment:
    """The environment of this process, with the device and the CPU threads that the model is trained with."""
    return Environment(
        device=device,
        device_note=device_note,
        threads=threads,
        python=platform.python_version(),
        machine=f"{platform.system()} {platform.machine()}",
        versions={name: importlib.metadata.version(name) for name in LIBRARIES},
        git_commit=git_commit(PROJECT),
    )


def git_commit(folder: Path) -> str | None:
    """The commit of a checkout, with "+changes" if files differ from it; None outside a checkout or without git."""
    git = shutil.which("git")
    if git is None or not (folder / ".git").exists():
        return None
    command = [git, "-C", str(folder)]
    try:
        commit = subprocess.run(
            [*command, "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=GIT_SECONDS
        )
        changes = subprocess.run(
            [*command, "status", "--porcelain"], capture_output=True, text=True, check=True, timeout=GIT_SECONDS
        )
    except (subprocess.SubprocessError, OSError):
        return None
    return commit.stdout.strip() + ("+changes" if changes.stdout.strip() else "")
