"""A new experiment for a table: it is read as it was written, trains, and overwrites nothing."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.config.experiments import load_experiment
from flows.config.new_experiment import slug
from flows.errors import InputError
from tasks.learning.config.data import TableData

Command = Callable[..., tuple[int, str, str]]

ROWS = [(float(area), area % 5, f"town {area % 3}", 100.5 * area + area % 5) for area in range(40, 120)]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a table."""
    monkeypatch.chdir(tmp_path)
    lines = "".join(f"{area},{rooms},{town},{price}\n" for area, rooms, town, price in ROWS)
    (tmp_path / "my houses.csv").write_text(f"area,rooms,town,price\n{lines}")
    return tmp_path


def table_of(file: str) -> TableData:
    """The data section of a file."""
    data = load_experiment(file).data
    assert isinstance(data, TableData)
    return data


def test_it_names_what_is_left_out_and_trains(store: object, here: Path, command: Command) -> None:
    code, out, _ = command("init", "my houses.csv", "--target", "price")
    assert (code, out.splitlines()) == (
        0,
        [
            "my-houses.toml predicts price by area, rooms.",
            "Left out: town, which holds text.",
            "Train it: workflow train my-houses.toml --verify",
        ],
    )
    assert "# Columns without numbers are left out: town (text).\n" in (here / "my-houses.toml").read_text()
    assert table_of("my-houses.toml") == TableData(path=str(here / "my houses.csv"), target="price", exclude=["town"])
    code, out, error = command("train", "my-houses.toml", "--verify")
    assert code == 0, error
    shown = json.loads(command("show", "--json")[1])
    assert shown["verified"] is True
    assert shown["metrics"]["test"]["r2"] > 0.999


def test_columns_with_gaps_are_found_and_their_rows_left_out(store: object, here: Path, command: Command) -> None:
    with (here / "my houses.csv").open("a") as table:
        table.write(",2,town 1,5000\n51,3,,5131.5\n52,1,town 2,\n")
    code, out, _ = command("init", "my houses.csv", "--target", "price")
    assert (code, out.splitlines()[2]) == (0, "Rows without a value are left out: of area, price.")
    assert table_of("my-houses.toml").drop_missing == ["area", "price"]
    code, out, error = command("train", "my-houses.toml")
    assert code == 0, error
    assert "2 of 83 rows are left out: a value is missing in area, price" in out
    rows = [metrics["rows"] for metrics in json.loads(command("show", "--json")[1])["metrics"].values()]
    assert sum(rows) == 81


def test_nothing_is_overwritten(here: Path, command: Command) -> None:
    (here / "my-houses.toml").write_text("mine")
    code, _, error = command("init", "my houses.csv", "--target", "price")
    assert (code, error) == (2, "error: my-houses.toml exists: remove it, or give another file with --output\n")
    assert (here / "my-houses.toml").read_text() == "mine"
    code, out, _ = command("init", "my houses.csv", "--target", "price", "--output", "other.toml", "--json")
    assert json.loads(out) == {
        "file": "other.toml",
        "target": "price",
        "features": ["area", "rooms"],
        "excluded": {"town": "text"},
        "gaps": [],
    }


@pytest.mark.parametrize(
    ("delimiter", "decimal"), [(",", "."), (";", "."), (";", ","), ("\t", "."), ("\t", ","), ("|", ",")]
)
def test_how_a_csv_file_is_written_is_found_out(here: Path, command: Command, delimiter: str, decimal: str) -> None:
    rows = [("area", "town", "price"), *((str(area), town, str(price)) for area, _, town, price in ROWS)]
    text = "".join(delimiter.join(row).replace(".", decimal) + "\n" for row in rows)
    (here / "table.csv").write_text(text)
    assert command("init", "table.csv", "--target", "price")[0] == 0
    data = table_of("table.toml")
    assert (data.delimiter, data.decimal, data.exclude) == (delimiter, decimal, ["town"])


def test_a_parquet_file_elsewhere_is_named_by_its_absolute_path(
    here: Path, tmp_path_factory: pytest.TempPathFactory, command: Command
) -> None:
    path = tmp_path_factory.mktemp("elsewhere") / 'a "quoted" name.parquet'
    pq.write_table(pa.table({"a": [1.0, 2.0], "y": [1, 2]}), path)
    assert command("init", str(path), "--target", "y")[0] == 0
    assert table_of("a-quoted-name.toml").path == str(path)


@pytest.mark.parametrize(
    ("content", "words", "said"),
    [
        (None, ("none.csv", "--target", "y"), "none.csv cannot be read: No such file or directory"),
        (None, ("none.txt", "--target", "y"), "none.txt is no table: give a file that ends in .csv or .parquet"),
        ("", ("t.csv", "--target", "y"), "t.csv is no readable CSV file: Empty CSV file"),
        ("a,y\n1,2\n", ("t.csv", "--target", "z"), "there is no column 'z'; it has a, y"),
        ("a,y\n1,u\n", ("t.csv", "--target", "y"), "column 'y' holds text, such as 'u' in row 2, not numbers: choose"),
        ("t,y\nu,1\n", ("t.csv", "--target", "y"), "no column but the target 'y' is left to predict it by"),
        ("a,y\n1,2\n", ("t.csv", "--target", "y", "--output", "t.json"), "t.json must end in .toml"),
        ("a,y\n1,2\n", ("t.csv", "--target", "y", "--output", "no/t.toml"), "no/t.toml cannot be written: No such"),
    ],
)
def test_what_cannot_be_is_refused(
    here: Path, command: Command, content: str, words: tuple[str, ...], said: str
) -> None:
    if content is not None:
        (here / "t.csv").write_text(content)
    code, _, error = command("init", *words)
    assert code == 2
    assert said in error
    assert not list(here.glob("*.toml"))


UNPRINTABLE = "note\n[training]\nseed = 5\n#"


@pytest.mark.parametrize("name", [UNPRINTABLE, "no\tte", "n" * 101])
def test_a_column_that_no_experiment_can_name_is_refused_before_anything_is_written(
    here: Path, command: Command, name: str
) -> None:
    pq.write_table(pa.table({"x": [1.0, 2.0], "y": [1, 2], name: ["a", "b"]}), here / "t.parquet")
    code, _, error = command("init", "t.parquet", "--target", "y")
    assert code == 2
    assert f"t.parquet is not a valid table:\n  exclude: {name[:100]!r} is no name of a column" in error
    assert not list(here.glob("*.toml"))


def test_names_inside_of_a_column_stay_out_of_the_file(here: Path, command: Command) -> None:
    nested = pa.array([{UNPRINTABLE: 1}] * 2, pa.struct([(UNPRINTABLE, pa.int32())]))
    pq.write_table(pa.table({"x": [1.0, 2.0], "y": [1, 2], "s": nested}), here / "t.parquet")
    code, out, _ = command("init", "t.parquet", "--target", "y")
    assert (code, out.splitlines()[1]) == (0, "Left out: s, which holds nested values.")
    assert (here / "t.toml").read_text().count("[training]") == 1


def test_a_file_that_no_command_would_read_is_not_written(here: Path, command: Command) -> None:
    names = [f"{number:0>100}" for number in range(5_000)]
    pq.write_table(pa.table({"x": [1.0, 2.0], "y": [1, 2]} | {name: ["a", "b"] for name in names}), here / "t.parquet")
    code, _, error = command("init", "t.parquet", "--target", "y")
    assert (code, error) == (2, "error: t.toml would be no experiment: it has more than 1,000,000 bytes\n")
    code, _, error = command("init", "my houses.csv", "--target", "price", "--output", "my houses.toml")
    assert code == 2
    assert error.startswith("error: my houses.toml is not a valid experiment:\n  name: ")
    assert not list(here.glob("*.toml"))


def test_a_table_whose_name_is_not_utf_8_is_refused(here: Path, command: Command) -> None:
    (here / "my houses.csv").rename(here / "f\udcff.csv")
    code, _, error = command("init", "f\udcff.csv", "--target", "price")
    assert code == 2
    assert r"f\udcff.csv' is not in UTF-8: rename it" in error
    assert not list(here.glob("*.toml"))


def test_a_pipe_is_refused_before_anybody_waits_for_it(here: Path, command: Command) -> None:
    os.mkfifo(here / "fifo.csv")
    code, _, error = command("init", "fifo.csv", "--target", "y")
    assert (code, error) == (2, "error: fifo.csv is no plain file: give the path of one\n")


@pytest.mark.parametrize(("target", "why"), [("*", "'*' stands for every column"), ("a\tb", "is no name of a column")])
def test_what_no_column_can_be_called_is_refused(here: Path, command: Command, target: str, why: str) -> None:
    code, _, error = command("init", "my houses.csv", "--target", target)
    assert code == 2
    assert why in error
    assert not list(here.glob("*.toml"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("houses", "houses"), ("my houses (2)", "my-houses-2"), ("…", "experiment"), ("a" * 99, "a" * 64)],
)
def test_an_experiment_gets_a_name_that_is_one(name: str, expected: str) -> None:
    assert slug(name) == expected


def test_an_unreadable_file_of_its_own_is_an_error_of_the_user(here: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        load_experiment("my-houses.toml")
