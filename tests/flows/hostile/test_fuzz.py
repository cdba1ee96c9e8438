"""Whatever is in a file, its reader reads it or says in its own words that it cannot: no other error, nothing executed,
bounded memory, an end.

The files are real ones with seeded changes, read in a process of its own, which a crash of a library would end.
"""

import json
import random
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.config.experiments import load_experiment, load_file, preset_names
from flows.errors import InputError
from flows.runs.folders import RunFolder
from tasks.caching.records import UnreadableRecordError, read_record
from tasks.caching.runs.manifest import Manifest, ManifestError
from tests.support.fork_server import ForkServer
from tests.support.hostile_files import bounded_memory, bounded_time
from tests.support.hostile_mutation import mutated, mutated_json

#: Inputs for each reader: in the quick tests, and in the long ones.
FEW, MANY = 1_000, 6_250

#: What reading does not do, as Python's audit hooks name it.
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.", "os.mkdir", "os.rename", "os.remove")
FORBIDDEN += ("os.symlink", "os.link", "os.truncate", "shutil.", "socket.connect", "ctypes.")


def read_table(path: Path) -> None:
    from tasks.learning.data.tables import read_columns, read_table

    read_table(path)
    read_columns(path, ["x", "y"])


def read_checkpoint(path: Path) -> None:
    from tasks.learning.models.saved_weights import load_network

    load_network(json.loads((path.parent / "model.json.whole").read_bytes()), path.read_bytes(), "cpu")


def read_description(path: Path) -> None:
    from tasks.caching.storage.strict_json import parse_object
    from tasks.learning.models.saved_weights import load_network

    load_network(parse_object(path.read_bytes()), (path.parent / "checkpoint.whole").read_bytes(), "cpu")


def read_training_checkpoint(path: Path) -> None:
    from tasks.learning.training.resumption import load_training_checkpoint

    load_training_checkpoint(path.read_bytes())


def read_metrics(path: Path) -> None:
    _ = RunFolder(path.parent, None).metrics  # type: ignore[arg-type]


#: Of each kind of file: how it is read, and how its reader says that it cannot.
READERS: dict[str, tuple[Callable[[Path], object], type[Exception]]] = {
    "run.json": (lambda path: Manifest.read(path.parent), ManifestError),
    "record.json": (read_record, UnreadableRecordError),
    "metrics.json": (read_metrics, InputError),
    "model.json": (read_description, ValueError),
    "checkpoint.pth": (read_checkpoint, ValueError),
    "training-checkpoint.pth": (read_training_checkpoint, ValueError),
    "table.parquet": (read_table, ValueError),
    "experiment.toml": (lambda path: load_file(str(path)), InputError),
}


class Watch:
    """Notes what is done that reading does not do."""

    def __init__(self) -> None:
        self.on, self.seen = False, set[str]()
        sys.addaudithook(self.notice)

    def notice(self, event: str, arguments: tuple[Any, ...]) -> None:
        written = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
        if self.on and (written or event.startswith(FORBIDDEN)):
            self.seen.add(event)


def fuzz(name: str, folder: str, count: int) -> None:
    """Reads so many changed files, and prints how many were read all the same; ends at the first that does harm."""
    read, expected = READERS[name]
    path, whole = Path(folder) / name, (Path(folder) / f"{Path(name).stem}.whole").read_bytes()
    others = [other.read_bytes() for other in sorted(Path(folder).glob("*.whole"))]
    watch, readable = Watch(), 0
    for seed in range(count):
        chance = random.Random(f"{name} {seed}")
        structured = name.endswith(".json") and chance.random() < 0.5
        content = mutated_json(whole, chance) if structured else mutated(whole, chance.choice(others), chance)
        path.write_bytes(content)
        watch.on = True
        try:
            with bounded_memory(), bounded_time():
                read(path)
            readable += 1
        except expected as error:
            if not str(error):
                sys.exit(f"seed {seed} of {name}: no message")
        except BaseException:
            sys.exit(f"seed {seed} of {name}: {traceback.format_exc()}")
        watch.on = False
        if watch.seen:
            sys.exit(f"seed {seed} of {name}: {watch.seen}")
    print(readable)


def a_training_checkpoint() -> bytes:
    """What a training keeps to go on from."""
    import torch

    from tasks.learning.models.networks import build_network
    from tasks.learning.training.loop import fit
    from tests.learning.training.test_resumption import Shelf

    experiment = load_experiment("line", {"training": {"epochs": 3, "checkpoint_every": "1 epoch"}})
    x = torch.linspace(0, 1, 40).reshape(-1, 1)
    network, shelf = build_network(experiment.model, experiment.training.placement, "cpu", 88), Shelf()
    fit(network, experiment.training, (x, 0.7 * x + 0.3), {"test": (x, 0.7 * x + 0.3)}, None, shelf)
    checkpoint: bytes = shelf.kept[-1]
    return checkpoint


@pytest.fixture(scope="module")
def whole(first_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a whole file of each kind."""
    folder = tmp_path_factory.mktemp("whole")
    run = (first_home / "artifacts/runs/latest").resolve()
    (record,) = (first_home / "artifacts/records/split").glob("*.json")
    (checkpoint,) = run.glob("*.pth")
    (table,) = (first_home / "data/generate").glob("*.parquet")
    sources = {
        "run": run / "run.json",
        "metrics": run / "metrics.json",
        "model": run / "model.json",
        "record": record,
        "checkpoint": checkpoint,
        "table": table,
        "experiment": Path(__file__).parents[3] / "flows/presets" / f"{preset_names()[0]}.toml",
    }
    for name, source in sources.items():
        (folder / f"{name}.whole").write_bytes(source.read_bytes())
    (folder / "model.json.whole").write_bytes((run / "model.json").read_bytes())
    (folder / "training-checkpoint.whole").write_bytes(a_training_checkpoint())
    return folder


def require_harmless(name: str, whole: Path, count: int, forked: ForkServer, home: Path) -> None:
    """No changed file of a kind does harm, and not all of them are refused or read: the changes matter."""
    done = forked(fuzz, name, str(whole), count, home=home)
    assert done.returncode == 0, done.stderr[-3000:]
    assert 0 <= int(done.stdout) < count


@pytest.mark.parametrize("name", READERS)
def test_no_changed_file_does_harm(name: str, whole: Path, forked: ForkServer, tmp_path: Path) -> None:
    require_harmless(name, whole, FEW, forked, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("name", READERS)
def test_no_changed_file_of_many_does_harm(name: str, whole: Path, forked: ForkServer, tmp_path: Path) -> None:
    require_harmless(name, whole, MANY, forked, tmp_path)
