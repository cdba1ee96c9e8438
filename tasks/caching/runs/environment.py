"""The environment of a run, for its manifest."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
from pathlib import Path

from tasks.caching.code.sources import PROJECT
from tasks.caching.runs.manifest import Environment

#: Libraries whose versions are in the manifest.
LIBRARIES = ("torch", "prefect", "numpy", "pandas", "pyarrow", "matplotlib", "pydantic")

#: Timeout of git in seconds; a manifest without a commit is better than a run that hangs.
GIT_SECONDS = 10.0


def describe_environment(device: str, device_note: str, threads: int) -> Environment:
    """Describes the environment of this process, with the device and the CPU threads that the model is trained with."""
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
    try:
        commit, changes = ask_git(git, folder, "rev-parse", "HEAD"), ask_git(git, folder, "status", "--porcelain")
    except (subprocess.SubprocessError, OSError):
        return None
    return commit + ("+changes" if changes else "")


def ask_git(git: str, folder: Path, *words: str) -> str:
    """Runs a read-only git command in a checkout; returns what it prints.

    Inside a hook, git's own variables name the repository of that hook, which may be another one. Optional locks could
    make a git command fail that the user runs at the same time.

    Raises:
        subprocess.SubprocessError: it fails, or takes too long.
        OSError: it cannot be started.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        [git, "--no-optional-locks", "-C", str(folder), *words],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=GIT_SECONDS,
    )
    return done.stdout.strip()
