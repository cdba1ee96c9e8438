from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.config import experiments
from flows.config.experiments import load_experiment, merge, preset_names, settle
from flows.errors import InputError

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a TOML file."""

    def write(text: str) -> Path:
        path = tmp_path / "mine.toml"
        path.write_text(text)
        return path

    return write


def test_the_presets_ship_with_the_project() -> None:
    assert preset_names() == ["line", "line-cuda", "line-cuda-scaled", "line-layers"]


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_valid_and_named_as_its_file(name: str) -> None:
    assert load_experiment(name).name == name


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_says_what_it_changes_from_the_notebook_alone(name: str) -> None:
    experiment = load_experiment(name)
    assert (experiment.training.loss, experiment.training.optimizer, experiment.training.seed) == ("l1", "sgd", 88)
    assert (experiment.split.method, experiment.split.train) == ("sequential", 0.8)
    assert experiment.data.row_count == 50


def test_a_file_of_the_users_own_is_named_after_the_file_and_defaults_fill_the_rest(write: Write) -> None:
    experiment = load_experiment(str(write("[training]\nlearning_rate = 0.5\n")))
    assert (experiment.name, experiment.training.learning_rate, experiment.training.epochs) == ("mine", 0.5, 100)


def test_a_name_in_the_file_counts_more_than_the_files_name(write: Write) -> None:
    assert load_experiment(str(write('name = "yours"'))).name == "yours"


def test_changes_take_the_place_of_the_files_values_and_of_nothing_else(write: Write) -> None:
    path = str(write("[training]\nlearning_rate = 0.5\nepochs = 7\n"))
    training = load_experiment(path, {"training": {"epochs": 8}}).training
    assert (training.learning_rate, training.epochs) == (0.5, 8)


def test_merge_leaves_its_arguments_as_they_are() -> None:
    settings = {"a": {"b": 1, "c": 2}, "d": 3}
    assert merge(settings, {"a": {"b": 9}, "e": {"f": 4}}) == {"a": {"b": 9, "c": 2}, "d": 3, "e": {"f": 4}}
    assert settings == {"a": {"b": 1, "c": 2}, "d": 3}


@pytest.mark.parametrize("source", ["lines", "LINE", "../line", "", "line.tml"])
def test_an_unknown_preset_is_refused_with_the_choices(source: str) -> None:
    with pytest.raises(InputError, match="choose one of line, line-cuda, line-cuda-scaled, line-layers"):
        load_experiment(source)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no file .*absent\.toml"):
        load_experiment(str(tmp_path / "absent.toml"))


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(InputError, match=r"there is no file .*folder\.toml"):
        load_experiment(str(tmp_path / "folder.toml"))


def test_a_file_that_is_no_toml_is_refused_with_line_and_column(write: Write) -> None:
    with pytest.raises(InputError, match=r"mine.toml is no TOML: .*line 2, column"):
        load_experiment(str(write('name = "x"\nlearning rate = 1')))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"bytes\.toml is no TOML"):
        load_experiment(str(tmp_path / "bytes.toml"))


def test_all_problems_of_a_file_are_reported_in_one_message(write: Write) -> None:
    text = 'name = "a/b"\ncolour = 1\n[data]\nstep = 0\n[split]\ntrain = 2\n[training]\nloss = "l3"\nepochs = true\n'
    with pytest.raises(InputError) as caught:
        load_experiment(str(write(text)))
    first, *lines = str(caught.value).splitlines()
    assert first.endswith("mine.toml is not a valid experiment:")
    reported = {line.strip().partition(":")[0]: line.partition(": ")[2] for line in lines}
    assert reported.keys() == {"name", "colour", "data.step", "split.train", "training.loss", "training.epochs"}
    assert reported["colour"] == "unknown field"
    assert reported["data.step"] == "input should be greater than 0 (got 0)"
    assert "'l1', 'mse', 'huber' or 'bce' (got 'l3')" in reported["training.loss"]


def test_fields_that_do_not_fit_each_other_are_reported(write: Write) -> None:
    with pytest.raises(InputError, match=r"training.patience needs validation rows: set split.validation"):
        load_experiment(str(write("[training]\npatience = 3\n")))


@pytest.mark.parametrize("name", ["a/b", "../a", ".hidden", "a b", "-rf", "a\nb", "", "x" * 65, "ü", "a\x00"])
def test_hostile_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="name"):
        load_experiment("line", {"name": name})


@pytest.mark.parametrize("checkpoint", ["a/b.pth", "../x.pth", ".pth", "model.pt", "run.json", "a b.pth", "x\n.pth"])
def test_hostile_names_of_checkpoints_are_refused(checkpoint: str) -> None:
    with pytest.raises(InputError, match="checkpoint"):
        load_experiment("line", {"checkpoint": checkpoint})


def test_settling_resolves_the_device_and_counts_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiments, "resolve_device", {"auto": "cuda:0"}.__getitem__)
    monkeypatch.setattr(experiments, "thread_count", lambda wanted: wanted or 3)
    settled = settle(load_experiment("line-cuda"))
    assert (settled.device_asked_for, settled.training.device, settled.training.threads) == ("auto", "cuda:0", 3)


def test_a_device_that_is_not_there_is_a_problem_of_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.learning.config.devices.cuda_device_count", lambda: 0)
    with pytest.raises(InputError, match=r"training.device: device 'cuda' is not there, since .*: use auto or cpu"):
        settle(load_experiment("line", {"training": {"device": "cuda"}}))


@pytest.mark.parametrize(("size", "settled"), [(40, None), (39, 39), (None, None)])
def test_a_batch_of_all_rows_is_a_full_batch(size: int | None, settled: int | None) -> None:
    assert settle(load_experiment("line", {"training": {"batch_size": size}})).training.batch_size == settled


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"kind": "wave", "length": 2}, {"kind": "wave", "length": 2}),
        ({"kind": "line", "bias": 2}, {"weight": 1, "kind": "line", "bias": 2}),
        ({"bias": 2}, {"weight": 1, "bias": 2}),
    ],
)
def test_another_kind_of_dataset_starts_without_the_settings_of_the_old_one(
    changes: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert merge({"data": {"weight": 1}}, {"data": changes}) == {"data": expected}
    assert merge({"model": {"kind": "linear", "bias_name": "b"}}, {"model": {"kind": "parameters"}}) == {
        "model": {"kind": "parameters", "bias_name": "b"}
    }
