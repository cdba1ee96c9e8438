"""Run folders from elsewhere with invalid names: none leads out of the store, each is one finding, no command fails."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.ui.pages import cell
from tasks.caching.storage.store import Store
from tests.flows.hostile.test_hostile_runs import change

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def own(trained: Store) -> str:
    """The name of the run that was trained here."""
    return (trained.runs / "latest").resolve().name


@pytest.fixture
def received(trained: Store, own: str) -> Path:
    """The folder of a second run, to be tampered with."""
    folder = trained.runs / "line-received"
    shutil.copytree(trained.runs / own, folder)
    change(folder / "run.json", lambda manifest: json.loads(json.dumps(manifest).replace(own, folder.name)))
    return folder


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if "alive" not in path.parts}


#: Invalid names, each with the field of the manifest that it replaces; `{}` stands for the test's own folder.
NO_NAMES = [
    *(("experiment", name) for name in ("../../../x", "n" * 300, "a\0b", "a\nb", "コピー\u30001", "..", "")),
    *((field, "../../../x") for field in ("run", "checkpoint", "stage", "key", "file")),
    *((field, "{}/x") for field in ("experiment", "run", "checkpoint", "stage", "key", "file")),
]


@pytest.mark.parametrize(("field", "name"), NO_NAMES)
def test_no_name_in_a_manifest_leads_anywhere(
    trained: Store, own: str, received: Path, command: Command, tmp_path: Path, field: str, name: str
) -> None:
    name = name.format(tmp_path)

    def rename(manifest: Any) -> Any:
        if field == "experiment":
            manifest["experiment"]["name"] = name
        elif field in ("stage", "key"):
            manifest["stages"][-1]["name" if field == "stage" else "key"] = name
        elif field == "file":
            manifest["files"][name] = manifest["files"].pop("metrics.json")
        else:
            manifest[field] = name
        return manifest

    change(received / "run.json", rename)
    before, outside = tree(trained.root), sorted(tmp_path.iterdir())
    code, out, error = command("check")
    assert (code, error) == (1, "")
    assert [line.split(":")[0] for line in out.splitlines()[:-1]] == ["damaged    artifacts/runs/line-received"]
    for words in (["runs"], ["history", "line"], ["compare", own, received.name], ["show", received.name]):
        code, out, error = command(*words)
        assert code == (2 if received.name in words else 0)
        assert received.name not in error or "run.json is damaged (" in error
        assert (out + error).replace("\n", "").isprintable()
    code, out, error = command("check", "--repair")
    assert (code, error) == (0, "")
    assert out.splitlines()[-1].startswith("clean")
    assert command("check")[0] == 0
    assert sorted(tmp_path.iterdir()) == outside
    new = {path for path in tree(trained.root) - before if not path.startswith(("artifacts/history", ".prefect"))}
    assert all(path.startswith("artifacts/set-aside") for path in new)
    assert (trained.runs / "latest").resolve().name == own


ODD = {
    "an ideographic space": ("コピー\u30001", r"コピー\u30001"),
    "a line's end": ("line\nclean; looked at nothing", r"line\nclean; looked at nothing"),
    "no UTF-8": (os.fsdecode(b"line-\xff\xfe"), r"line-\udcff\udcfe"),
    "a terminal's commands": ("\x1b[2J\x1b]0;evil\x07", r"\x1b[2J\x1b]0;evil\x07"),
    "255 letters": ("n" * 255, "n" * 255),
    "spaces": ("line (copy)", "line (copy)"),
}


@pytest.mark.parametrize(("name", "shown"), ODD.values(), ids=ODD)
def test_a_copy_of_a_run_by_an_odd_name_disturbs_nothing(
    trained: Store, own: str, command: Command, name: str, shown: str
) -> None:
    shutil.copytree(trained.runs / own, trained.runs / name)
    finding = {"path": f"artifacts/runs/{name}", "kind": "foreign", "what": "the store does not use such names"}
    for words in (["check"], ["check", "--repair"]):
        code, out, error = command(*words)
        assert (code, error) == (0, "")
        assert out.splitlines()[0] == f"foreign    artifacts/runs/{shown}: the store does not use such names"
        assert out.splitlines()[1].startswith("clean; looked at")
        code, out, error = command(*words, "--json")
        assert (code, error) == (0, "")
        assert json.loads(out)["findings"] == [finding | {"named_by": ""}]
    assert (trained.root / finding["path"]).is_dir()

    code, out, error = command("runs")
    assert (code, out.count(own)) == (0, 1)
    assert error.count("\n") == 1
    assert "is no run: none has such a name" in error
    assert [entry["run"] for entry in json.loads(command("runs", "--json")[1])] == [own, name]
    for words in (["history", "line"], ["collect"], ["collect", "--json"], ["show"], ["verify", own]):
        code, out, error = command(*words)
        assert (code, error) == (0, ""), words
    for words in (["show", name], ["verify", name], ["compare", own, name]):
        code, out, error = command(*words)
        assert (code, out, error.count("\n")) == (2, "", 1)
        assert "is no run: none has such a name" in error


@pytest.mark.parametrize("name", [name for name, _ in ODD.values()], ids=ODD)
def test_a_file_by_an_odd_name_in_a_run_folder_disturbs_no_training(
    trained: Store, own: str, command: Command, train: Callable[..., Any], api: Any, name: str
) -> None:
    (trained.runs / own / name).write_text("mine")
    outcome = train()
    assert (outcome.run, outcome.ran) == (own, [])
    page = api.artifacts(outcome.flow_run_id)["line-report"]
    assert cell(name) in page
    assert page.replace("\n", "").isprintable()
    assert command("check")[0] == 0


def put_folder(path: Path) -> None:
    path.mkdir()


def put_run(path: Path) -> None:
    shutil.copytree(next(path.parent.glob("line-2*")), path)


def put_file(path: Path) -> None:
    path.write_text("line-1")


@pytest.mark.parametrize("pointer", ["latest", "line-latest"])
@pytest.mark.parametrize("put", [put_folder, put_run, put_file])
def test_an_obstacle_in_the_place_of_a_pointer_stops_a_training_and_is_removed_by_a_repair(
    trained: Store, own: str, command: Command, put: Callable[[Path], None], pointer: str
) -> None:
    path = trained.runs / pointer
    path.unlink()
    put(path)
    before = tree(path)
    kind = "file" if put is put_file else "folder"
    message = (
        f"error: {path} is a {kind} in the place of a pointer to the newest run: `workflow check --repair` moves it"
    )
    code, out, error = command("train", "line", "--training.epochs", "7")
    assert (code, error) == (1, f"{message} out of the way\n")
    assert "Completed" not in out, "nothing is computed"
    for words in (["show", pointer], ["verify", pointer]):
        assert command(*words) == (2, "", f"{message} out of the way\n")
    assert command("runs")[0] == 0
    assert command("check")[0] == 1
    assert command("check", "--repair")[0] == 0
    assert path.resolve().name == own
    (aside,) = trained.artifacts.glob(f"set-aside/*/artifacts/runs/{pointer}")
    assert tree(aside) == before
    assert command("train", "line")[0] == 0
    assert command("check") == (0, *command("check")[1:])


@pytest.mark.parametrize("target", ["gone", "../../..", "line-latest/run.json", "latest"])
def test_a_pointer_that_leads_astray_is_corrected_by_a_repair_and_by_a_training(
    trained: Store, own: str, command: Command, target: str
) -> None:
    for mend in (["check", "--repair"], ["train", "line"]):
        (trained.runs / "latest").unlink()
        (trained.runs / "latest").symlink_to(target)
        assert command("check")[0] == 1
        assert command("verify")[0] == 2
        assert command(*mend)[0] == 0
        assert (trained.runs / "latest").readlink() == Path(own)
        assert command("check")[0] == 0
