"""Names of columns, as settings have them."""

from collections.abc import Sequence

#: Characters in the name of a column, at most.
MOST_LETTERS = 100

#: Stands for every column that is read.
EVERY_COLUMN = "*"


def require_column_name(name: str) -> None:
    """Checks the name of a column, which is shown in a terminal, in figures and on pages.

    Raises:
        ValueError: it is empty, too long, or has characters that cannot be printed.
    """
    if not 1 <= len(name) <= MOST_LETTERS or not name.isprintable():
        raise ValueError(f"{name[:MOST_LETTERS]!r} is no name of a column: 1 to {MOST_LETTERS} printable characters")


def named_columns(names: Sequence[str], columns: Sequence[str]) -> list[str]:
    """Those of some columns that are named, in their order; `*` names all."""
    return [name for name in columns if name in names or EVERY_COLUMN in names]
