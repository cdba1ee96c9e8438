"""A new experiment for a table: a file with comments, to be read and changed."""

import contextlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError

from flows.config.experiments import ExperimentFile, with_absolute_path
from flows.config.toml_file import parse_toml
from flows.errors import InputError, list_problems
from tasks.errors import ExperimentError
from tasks.learning.config.data import FORMATS, TableData, is_csv

if TYPE_CHECKING:
    import pyarrow as pa

    from tasks.learning.data.table_files import TableFile

#: The marks between the values of a CSV file, and the decimal points, that are tried.
DELIMITERS: tuple[Literal[",", ";", "\t", "|"], ...] = (",", ";", "\t", "|")
DECIMALS: tuple[Literal[".", ","], ...] = (".", ",")

#: The file. What stands for numbers is filled in; the rest are settings that suit most tables.
TEMPLATE = """\
# Predicts {target} by the other columns of {name}. Train it: workflow train {file} --verify
# `workflow train --help` describes every setting.

[data]
kind = "table"
path = {path}
target = {target}
{columns}
[split]
method = "shuffled"  # or sequential, if their order means something; time, grouped, hash, stratified: by split.column
train = 0.7
validation = 0.15    # for early stopping; the rest is for testing
seed = 0

[model]
kind = "linear"        # or mlp, with hidden layers: see model.hidden
# Columns have different units. The model scales them itself, by the training rows: it takes raw values, and its
# predictions are in units of the target.
scale_features = "standard"
scale_target = "standard"

[training]
loss = "mse"
optimizer = "adam"
learning_rate = 0.05
epochs = 1000
patience = 10        # stop after so many evaluations without a better validation loss
evaluate_every = 10
seed = 0
"""


@dataclass(frozen=True)
class NewExperiment:
    """An experiment that was written.

    Attributes:
        file: its TOML file.
        target: the column that it predicts.
        features: the columns that it predicts it by.
        excluded: the other columns, with what they hold.
        gaps: the target and features in which a value is missing; such rows are left out.
    """

    file: Path
    target: str
    features: tuple[str, ...]
    excluded: dict[str, str]
    gaps: tuple[str, ...]


def write_new_experiment(table: Path, target: str, output: Path | None) -> NewExperiment:
    """Writes a file with an experiment that predicts a column of a table by all others that hold numbers.

    Args:
        table: the file, .csv or .parquet.
        target: the name of the column.
        output: the file to write; named after the table, in the working directory, if None.

    Raises:
        InputError: the table cannot be read, has no such column of numbers, nothing to predict it by or a column that
            no experiment can name, or the output exists already.
    """
    require_names(table, output)
    if table.suffix.lower() not in FORMATS:
        raise InputError(f"{table} is no table: give a file that ends in {' or '.join(FORMATS)}")
    output = output or Path(f"{slug(table.stem)}.toml")
    if output.suffix != ".toml":
        raise InputError(f"{output} must end in .toml")
    if table.exists() and not table.is_file():  # opening a pipe blocks until another process writes
        raise InputError(f"{table} is no plain file: give the path of one")
    try:
        new, data = inspect_table(table, target, output)
    except ExperimentError as error:
        raise InputError(str(error)) from error
    except ValidationError as error:
        raise list_problems(error, str(table), "table") from error
    except OSError as error:
        raise InputError(f"{table} cannot be read: {error.strerror or error}") from error
    text = TEMPLATE.format(
        target=quoted(target),
        name=in_comment(table.name),
        file=in_comment(str(output)),
        path=quoted(path_in(table, output)),
        columns=column_lines(new, data),
    )
    require_loadable(text, output)
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise InputError(f"{output} exists: remove it, or give another file with --output") from error
    except OSError as error:
        raise InputError(f"{output} cannot be written: {error.strerror}") from error
    return new


def require_names(table: Path, output: Path | None) -> None:
    """Checks that a file in UTF-8 can name the table and itself.

    Raises:
        InputError: it cannot.
    """
    for path in (table, output or table):
        try:
            str(path.absolute()).encode()
        except UnicodeEncodeError as error:
            raise InputError(f"{str(path.absolute())!r} is not in UTF-8: rename it") from error


def require_loadable(text: str, output: Path) -> None:
    """Checks that what is about to be written is an experiment.

    Raises:
        InputError: it is none.
    """
    try:
        settings = {"name": output.stem, **parse_toml(text.encode())}
        ExperimentFile.model_validate(with_absolute_path(settings, output.absolute().parent))
    except ValidationError as error:
        raise list_problems(error, str(output)) from error
    except ValueError as error:
        raise InputError(f"{output} would be no experiment: {error}") from error


def inspect_table(table: Path, target: str, output: Path) -> tuple[NewExperiment, TableData]:
    """What a table offers, and how it is read.

    Raises:
        ExperimentError: it cannot be read, has no such column of numbers, or nothing to predict it by.
        OSError: likewise.
        ValidationError: no experiment can have such a target, or leave out such a column.
    """
    from tasks.learning.data.ingestion import choose_columns, is_numeric

    file, data = opened(table, target)
    excluded = {
        field.name: held(field.type) for field in file.columns if field.name != target and not is_numeric(field.type)
    }
    data = TableData.model_validate(data.model_dump() | {"exclude": list(excluded)})
    columns = choose_columns(file, data, table)
    gaps = columns_with_gaps(file, (*columns.features, target))
    return NewExperiment(output, target, columns.features, excluded, gaps), data


def held(kind: "pa.DataType") -> str:
    """What a column holds that is not numeric, in words, without those of the table: names of nested columns."""
    from tasks.learning.data.ingestion import described

    return "nested values" if kind.num_fields else described(kind)


def columns_with_gaps(file: "TableFile", names: Sequence[str]) -> tuple[str, ...]:
    """The columns in which a value is missing; the whole table is read, or as much of it as can be."""
    from tasks.learning.data.ingestion import have_values

    found = dict.fromkeys(names, False)
    with contextlib.suppress(ExperimentError):  # which a training reports with its place
        for batch in file.batches(list(names)):
            found |= {name: found[name] or not have_values(batch, [name]).all() for name in names}
    return tuple(name for name, has_gaps in found.items() if has_gaps)


def opened(table: Path, target: str) -> tuple["TableFile", TableData]:
    """A table, and the settings by which it can be read and most of its columns hold numbers.

    Raises:
        ExperimentError: it cannot be read with any of the settings.
        OSError: it cannot be read at all.
    """
    from tasks.learning.data.ingestion import is_numeric
    from tasks.learning.data.table_files import open_table

    usual, *others = [
        TableData(path=str(table), target=target, delimiter=mark, decimal=point)
        for mark in DELIMITERS
        for point in DECIMALS
        if mark != point
    ]
    if not is_csv(table):
        return open_table(table, usual), usual
    read: list[tuple[TableFile, TableData]] = []
    for data in (usual, *others):
        with contextlib.suppress(ExperimentError):
            read.append((open_table(table, data), data))
    if not read:
        open_table(table, usual)  # which says why
    # Of equals, the first: commas and points.
    return max(read, key=lambda found: (len(found[0].columns) > 1, sum(is_numeric(c.type) for c in found[0].columns)))


def column_lines(new: NewExperiment, data: TableData) -> str:
    """The lines of the file on columns, and on how the table is read if it is not as usual."""
    lines = [f"# The features: {in_comment(', '.join(new.features))}."]
    if new.excluded:
        texts = in_comment(", ".join(f"{name} ({what})" for name, what in new.excluded.items()))
        lines += [f"# Columns without numbers are left out: {texts}.", f"exclude = {quoted(list(new.excluded))}"]
    if new.gaps:
        lines += [
            "# Rows in which one of these has no value are left out; see model.impute for another way.",
            f"drop_missing = {quoted(new.gaps)}",
        ]
    marks = data.model_dump(include={"delimiter", "decimal"}, exclude_defaults=True)
    lines += [f"{name} = {quoted(mark)}" for name, mark in marks.items()]
    return "".join(f"{line}\n" for line in lines)


def path_in(table: Path, output: Path) -> str:
    """The path of the table as the file names it: relative to the file if it lies beside or below it."""
    folder = output.absolute().parent
    return str(table.absolute().relative_to(folder) if table.absolute().is_relative_to(folder) else table.absolute())


def slug(name: str) -> str:
    """A name that an experiment can have."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:64] or "experiment"


def quoted(value: str | Sequence[str]) -> str:
    """A text, or a list of texts, in TOML, which writes them as JSON does (but for DEL)."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def in_comment(text: str) -> str:
    """A text in a comment of TOML, which the end of a line would end."""
    return quoted(text)[1:-1]
