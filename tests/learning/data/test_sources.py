"""Every kind of dataset has what makes its rows."""

import pytest

from tasks.learning.config.data import DEFAULT_KIND, Data, LineData
from tasks.learning.config.experiment import Experiment
from tasks.learning.config.section import sections_of
from tasks.learning.data.schema import FEATURE, ROW, TARGET
from tasks.learning.data.sources import SOURCES, make_table

KINDS = {kind.model_fields["kind"].default: kind for kind in sections_of(Data.__origin__)}


def test_every_kind_of_the_settings_has_a_source_or_is_a_table_and_the_first_is_the_default():
    assert list(KINDS) == [*SOURCES, "table"]
    assert next(iter(KINDS)) == DEFAULT_KIND == Experiment().data.kind


@pytest.mark.parametrize("kind", SOURCES)
def test_a_source_makes_the_columns_of_the_schema_and_the_rows_that_the_settings_say(kind):
    data = KINDS[kind]()
    table = make_table(data)
    assert {ROW, FEATURE, TARGET} <= set(table.column_names)
    assert table.num_rows == data.row_count
    assert table[ROW].to_pylist() == list(range(data.row_count))


def test_a_line_is_made_of_its_settings():
    assert make_table(LineData(weight=2.0, bias=1.0, rows=2, end=4.0))[TARGET].to_pylist() == [1.0, 5.0]
