"""The examples of the README for notebooks do what they say."""

import re
import shutil
from pathlib import Path

from tests.support.serving_project import Finish

PROJECT = Path(__file__).parents[3]


def test_they_run_from_top_to_bottom(workflow: Finish, first_home: Path, tmp_path: Path) -> None:
    shutil.copytree(first_home, tmp_path / "home", symlinks=True)
    section = (PROJECT / "README.md").read_text("utf-8").split("## In a notebook")[1].split("\n## ")[0]
    cells = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert len(cells) == 2
    shown = "assert new['y'].tolist() == network(torch.tensor([[1.2], [1.3]])).flatten().tolist(), new\n"
    code = "\n".join(["import torch", cells[0], shown, "assert len(everything) == 1", *cells[1:]])
    done = workflow(code=code, home=tmp_path / "home", cwd=PROJECT)
    assert (done.returncode, done.stderr) == (0, "")
    assert {line.split()[0] for line in done.stdout.splitlines()} >= {"train", "validation", "test"} - {"validation"}
