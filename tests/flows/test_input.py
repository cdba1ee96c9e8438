"""What is asked for wrongly: refused before anything runs, in one message that names the field or the line."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.runs.wording import printable
from tasks.caching.storage.store import Store
from tests.support.prefect_api import Api

Command = Callable[..., tuple[int, str, str]]

#: A file that is TOML but no experiment; the field that is named, if it is one; and what is said of it.
WRONG = {
    "unknown field": ("[training]\nepoch = 3", "training.epoch", "unknown field"),
    "unknown section": ("[train]\nepochs = 3", "train", "unknown field"),
    "no section": ("training = 3", "training", "input should be a valid dictionary"),
    "list of sections": ("[[training]]\nepochs = 3", "training", "input should be a valid dictionary"),
    "text for integer": ("[training]\nepochs = '3'", "training.epochs", "input should be a valid integer (got '3')"),
    "real for integer": ("[training]\nepochs = 3.0", "training.epochs", "input should be a valid integer (got 3.0)"),
    "bool for integer": ("[training]\nepochs = true", "training.epochs", "input should be a valid integer (got True)"),
    "date for integer": ("[training]\nepochs = 2026-01-01", "training.epochs", "input should be a valid integer"),
    "list for integer": ("[training]\nepochs = [3]", "training.epochs", "input should be a valid integer (got [3])"),
    "bool for real": ("[data]\nnoise = true", "data.noise", "input should be a valid number (got True)"),
    "text for real": ("[data]\nnoise = '1'", "data.noise", "input should be a valid number (got '1')"),
    "integer for bool": ("[training]\nshuffle = 1", "training.shuffle", "input should be a valid boolean (got 1)"),
    "integer for text": ("name = 3", "name", "input should be a valid string (got 3)"),
    "learning rate NaN": ("[training]\nlearning_rate = nan", "training.learning_rate", "input should be a finite"),
    "learning rate infinite": ("[training]\nlearning_rate = inf", "training.learning_rate", "input should be a finite"),
    "learning rate 0": ("[training]\nlearning_rate = 0", "training.learning_rate", "input should be greater than 0"),
    "learning rate negative": ("[training]\nlearning_rate = -0.1", "training.learning_rate", "input should be greater"),
    "learning rate beyond float32": ("[training]\nlearning_rate = 1e39", "training.learning_rate", "input should be"),
    "learning rate below floats": ("[training]\nlearning_rate = 1e-400", "training.learning_rate", "input should be"),
    "weight decay beyond float32": ("[training]\nweight_decay = 1e39", "training.weight_decay", "input should be less"),
    "initial weight beyond float32": ("[model]\ninitial_weight = -1e39", "model.initial_weight", "input should be gr"),
    "no epochs": ("[training]\nepochs = 0", "training.epochs", "input should be greater than or equal to 1 (got 0)"),
    "epochs −1": ("[training]\nepochs = -1", "training.epochs", "input should be greater than or equal to 1 (got -1)"),
    "epochs without end": ("[training]\nepochs = 1_000_000_000_000", "training.epochs", "input should be less than or"),
    "seldom evaluated": (f"[training]\nevaluate_every = {10**30}", "training.evaluate_every", "input should be less"),
    "batch size 0": ("[training]\nbatch_size = 0", "training.batch_size", "input should be greater than or equal to 1"),
    "batch size 10⁹": ("[training]\nbatch_size = 1_000_000_000", "", "batch_size (1,000,000,000) is above the 40"),
    "seed negative": ("[training]\nseed = -1", "training.seed", "input should be greater than or equal to 0 (got -1)"),
    "split seed too long": (
        f"[split]\nseed = {2**53}",
        "split.seed",
        "input should be less than or equal to 9",
    ),
    "noise seed too long": (
        f"[data]\nseed = {2**53}",
        "data.seed",
        "input should be less than or equal to 9",
    ),
    "seed too long": (f"[training]\nseed = {2**32}", "training.seed", "input should be less than or equal to 4"),
    "batch too large": (
        f"[training]\nbatch_size = {2**53}",
        "training.batch_size",
        "input should be less than or equal",
    ),
    "weight between floats": (
        f"[data]\nweight = {2**53 + 1}",
        "data.weight",
        f"no float64 is {2**53 + 1}; the nearest is 9007199254740992.0",
    ),
    "no rows": ("[data]\nrows = 0", "data.rows", "input should be greater than or equal to 1 (got 0)"),
    "one row": ("[data]\nrows = 1", "", "1 rows leave the train part empty: give more rows"),
    "empty test part": ("[data]\nrows = 2\n[split]\ntrain = 0.9999999999", "", "2 rows leave the test part empty"),
    "empty train part": ("[split]\ntrain = 0.01", "", "50 rows leave the train part empty"),
    "empty validation part": ("[split]\nvalidation = 0.001", "", "50 rows leave the validation part empty"),
    "no part for test": (
        "[split]\ntrain = 0.9\nvalidation = 0.1",
        "split",
        "train (0.9) and validation (0.1) must leave a",
    ),
    "step without end": ("[data]\nstep = 1e-320", "data", "step (9.99989e-321) makes inf rows; at most 100,000,000"),
    "way without end": ("[data]\nstart = -1e308\nend = 1e308", "data", "step (0.02) makes inf rows"),
    "line beyond float32": ("[data]\nweight = 1e39", "data", "x or y reaches 1e+39, more than float32 can hold"),
    "no device": ("[training]\ndevice = 'tpu'", "training.device", "'tpu' is not of its form"),
    "device not there": ("[training]\ndevice = 'cuda:777'", "training.device", "device 'cuda:777' is not there, since"),
    "name leads out": ("name = '../../etc'", "name", "'../../etc' is not of its form"),
    "name with NUL": ('name = "a\\u0000b"', "name", r"'a\x00b' is not of its form"),
    "name with a line end": ('name = "a\\nb"', "name", r"'a\nb' is not of its form"),
    "name of 300 letters": (f"name = '{'n' * 300}'", "name", f"'{'n' * 300}' is not of its form, which"),
    "checkpoint leads out": ("checkpoint = '../x.pth'", "checkpoint", "'../x.pth' is not of its form"),
    "checkpoint with NUL": ('checkpoint = "a\\u0000.pth"', "checkpoint", r"'a\x00.pth' is not of its form"),
    "parameter leads out": ("[model]\nweight_name = '../w'", "model.weight_name", "must be a lower-case Python name"),
    "parameter of a module": ("[model]\nbias_name = 'forward'", "model.bias_name", "'forward' is taken"),
    "field that steers the terminal": ('"\\u001b]0;evil\\u0007" = 1', "\ufffd]0;evil\ufffd", "unknown field"),
}

#: The same for what can be said in a file alone.
EXCESSIVE = {
    "seed of 6,000 digits": (f"[training]\nseed = 0x{'f' * 5000}", "training.seed: input should be less than"),
    "interval of 2,700 years": ("[schedule]\ninterval = '999999d'", "schedule.interval: '999999d' is longer than ten"),
    "cron too long": (f"[schedule]\ncron = '{'0,' * 50_000}0 * * * *'", "schedule.cron: string should have at most"),
    "rrule too long": (f"[schedule]\nrrule = 'FREQ=DAILY;BYHOUR={'1,' * 300}1'", "schedule.rrule: string should have"),
    "time zone too long": (f"[schedule]\ntimezone = '{'z' * 10**5}'", "schedule.timezone: string should have at most"),
}

#: What of a file is no TOML, and what is said of it.
UNREADABLE = {
    "no value": (b"[training]\nepochs =\n", "is no TOML: Invalid value (at line 2, column 9)"),
    "no key": (b"[data]\n\n= 3", "is no TOML: Invalid statement (at line 3, column 1)"),
    "open text": (b'name = "line', "is no TOML: "),
    "twice": (b"name = 'a'\nname = 'b'\n", "is no TOML: Cannot overwrite a value (at line 2, column 11)"),
    "section twice": (b"[data]\n[data]\n", "is no TOML: Cannot declare ('data',) twice (at line 2, column 6)"),
    "no text": (b"name = '\xff'", "is no TOML: 'utf-8' codec can't decode byte 0xff"),
    "zeros": (bytes(100), "is no TOML: Invalid statement (at line 1, column 1)"),
    "a number too long": (b"[training]\nseed = " + b"9" * 5000, "is no TOML: Exceeds the limit"),
    "nested without end": (b"name = " + b"[" * 100_000, "is no TOML of an experiment: it is nested too deeply"),
    "nested tables": (b"data = " + b"{a = " * 20 + b"1" + b"}" * 20, "it is nested too deeply: data has more than 12"),
    "a key without end": (b"training" + b".a" * 40_000 + b" = 1", "it is nested too deeply: training.a.a.a.a.a.a… has"),
    "a long key": (b"[training.device" + b".a" * 20 + b"]", "it is nested too deeply: training.device.a.a.… has more"),
    "too large": (b"#" * 1_000_001, "is no TOML of an experiment: it has more than 1,000,000 bytes"),
}


def require_refused(reported: tuple[int, str, str], message: str, store: Store) -> None:
    """One message on the error stream, the exit code of bad input, and nothing left behind."""
    code, out, error = reported
    assert (code, out) == (2, "")
    assert error.startswith("error: ")
    assert message in error
    assert "Traceback" not in error
    assert "".join(error.split("\n")).isprintable()
    assert not store.root.exists()


def require_nothing_made(store: Store) -> None:
    """Nothing is left of a flow run that was refused, but what says which store it was of."""
    assert [path for path in store.root.rglob("*") if path.name not in (".prefect", "alive", "store.json")] == []


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], str]:
    """Writes a file; gives its path."""

    def write(content: bytes) -> str:
        path = tmp_path / "mine.toml"
        path.write_bytes(content)
        return str(path)

    return write


@pytest.mark.parametrize("verb", ["train", "plan"])
@pytest.mark.parametrize(("text", "field", "what"), WRONG.values(), ids=WRONG)
def test_a_file_with_a_wrong_value_is_refused_by_the_name_of_the_field(
    store: Store, command: Command, write: Callable[[bytes], str], text: str, field: str, what: str, verb: str
) -> None:
    require_refused(command(verb, write(text.encode())), f"{field}: {what}" if field else what, store)


@pytest.mark.parametrize("verb", ["train", "plan", "serve"])
@pytest.mark.parametrize(("text", "message"), EXCESSIVE.values(), ids=EXCESSIVE)
def test_a_file_with_a_value_beyond_all_bounds_is_refused_by_the_name_of_the_field(
    store: Store, command: Command, write: Callable[[bytes], str], text: str, message: str, verb: str
) -> None:
    require_refused(command(verb, write(text.encode())), message, store)


@pytest.mark.parametrize(("content", "message"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_file_that_is_no_toml_is_refused_by_line_and_column(
    store: Store, command: Command, write: Callable[[bytes], str], content: bytes, message: str
) -> None:
    require_refused(command("train", write(content)), message, store)


@pytest.mark.parametrize("length", [300, 5000])
def test_a_path_that_is_too_long_for_any_file_is_refused(store: Store, command: Command, length: int) -> None:
    require_refused(command("train", "n" * length + ".toml"), "there is no file", store)
    require_refused(command("train", "n" * length), "there is no preset", store)


@pytest.mark.parametrize(
    "word",
    [
        "--training=" + '{"device":' * 1000 + "1" + "}" * 1000,
        "--training" + ".device" * 1000 + "=1",
        "--name=" + "[" * 100_000,
    ],
    ids=["JSON", "option", "text"],
)
def test_an_option_that_is_nested_without_end_is_refused(store: Store, command: Command, word: str) -> None:
    require_refused(command("train", "line", word), word[:40], store)


@pytest.mark.parametrize("words", [["line", "--name", "n" * 10**6], ["n" * 10**6], ["line", "--" + "n" * 10**6]])
def test_a_very_long_value_is_shortened_in_the_message(store: Store, command: Command, words: list[str]) -> None:
    _, _, error = reported = command("train", *words)
    require_refused(reported, "n" * 900, store)
    assert len(error) < 2000


def test_of_very_many_problems_some_are_reported(store: Store, command: Command, write: Callable[[bytes], str]) -> None:
    file = write(b"".join(b"field%d = 1\n" % number for number in range(1000)))
    _, _, error = reported = command("train", file)
    require_refused(reported, "field29: unknown field\n  and 970 more\n", store)
    assert error.count("\n") == 32


def options(settings: dict[str, Any]) -> list[str]:
    """The settings of a file as options of the command line; none if one of them cannot be said so."""
    words = []
    for section, values in settings.items():
        for name, value in values.items() if isinstance(values, dict) else [("", values)]:
            if type(value) not in (int, float, str):
                return []
            words.append(f"--{section}{'.' if name else ''}{name}".replace("_", "-") + f"={value}")
    return words


#: The wrong values that an option can have. What is text in a file is no other value there, and is left out.
OPTIONS = {
    name: (words, field)
    for name, (text, field, _) in WRONG.items()
    if (words := options(tomllib.loads(text))) and " for " not in name and field not in ("training", "train")
}


@pytest.mark.parametrize(("words", "field"), OPTIONS.values(), ids=OPTIONS)
def test_a_wrong_option_is_refused_by_its_name(store: Store, command: Command, words: list[str], field: str) -> None:
    require_refused(command("train", "line", *words), field, store)


#: What the command line itself takes for no value of its field, since all that is typed there is text.
MISTYPED = {
    "bool for integer": ("--training.epochs=true", "training.epochs: input should be a valid integer"),
    "real for integer": ("--training.epochs=3.5", "training.epochs: input should be a valid integer"),
    "nothing for integer": ("--training.epochs=", "training.epochs: input should be a valid integer"),
    "text for real": ("--training.learning-rate=fast", "training.learning_rate: input should be a valid number"),
    "integer for bool": ("--training.shuffle=7", "--training.shuffle"),
    "unknown field": ("--training.epoch=3", "--training.epoch"),
    "unknown section": ("--train.epochs=3", "--train.epochs"),
    "field that steers the terminal": ("--training.\x1b]0;evil\x07=3", "evil"),
}


@pytest.mark.parametrize(("word", "reported"), MISTYPED.values(), ids=MISTYPED)
def test_an_option_of_another_type_is_refused_by_its_name(
    store: Store, command: Command, word: str, reported: str
) -> None:
    require_refused(command("train", "line", word), reported, store)


#: Names that no run can have, because they lead elsewhere, or no file can have them.
NO_RUNS = ["../../etc", "/etc", "..", ".", "a/../../b", "a\0b", "n" * 300, "n" * 5000, "a\nb", "\x1b]0;evil\x07", ""]


@pytest.mark.parametrize("name", NO_RUNS, ids=[repr(name)[:20] for name in NO_RUNS])
def test_a_name_that_no_run_can_have_is_refused(trained: Store, command: Command, name: str) -> None:
    def files() -> dict[Path, int]:
        return {path: path.lstat().st_mtime_ns for path in trained.root.rglob("*")}

    before = files()
    for words in (["verify"], ["show"], ["reproduce"], ["compare", "latest"], ["collect", "--pin"]):
        code, out, error = command(*words, name)
        assert (code, out) == (2, ""), words
        assert "no run" in error, words
        assert "".join(error.split("\n")).isprintable(), words
    assert files() == before


@pytest.mark.parametrize(("text", "field", "what"), WRONG.values(), ids=WRONG)
def test_the_flow_refuses_the_same_as_its_parameters(
    store: Store, prefect: None, text: str, field: str, what: str
) -> None:
    from flows import orchestration

    state: Any = orchestration.train(tomllib.loads(text), return_state=True)
    reported = printable(str(state.result(raise_on_failure=False)))
    assert state.is_failed()
    assert (field or what) in reported
    require_nothing_made(store)


@pytest.mark.parametrize(
    ("parameters", "field"), [({"refresh": ["traim"]}, "refresh.0"), ({"until": "x"}, "until"), ({"x": 1}, "x")]
)
def test_the_flow_refuses_wrong_parameters_of_its_own(
    store: Store, prefect: None, parameters: dict[str, Any], field: str
) -> None:
    from flows import orchestration

    with pytest.raises(Exception, match=field):
        orchestration.train({}, **parameters)
    require_nothing_made(store)


def test_a_number_that_no_server_can_send_does_not_hide_the_runs(store: Store, api: Api) -> None:
    from prefect.client.schemas.filters import FlowRunFilter

    from flows import orchestration

    state: Any = orchestration.train(
        {"training": {"evaluate_every": 10**30, "epochs": [10**30], "seed": 7}}, return_state=True
    )
    assert state.is_failed()
    chosen = FlowRunFilter.model_validate({"id": {"any_": [state.state_details.flow_run_id]}})
    (run,) = api.client.read_flow_runs(flow_run_filter=chosen)
    assert run.parameters["experiment"]["training"] == {
        "evaluate_every": str(10**30),
        "epochs": [str(10**30)],
        "seed": 7,
    }
