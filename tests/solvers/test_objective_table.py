"""The table of docs/objectives.md says what the solvers do, cell by cell."""

from itertools import dropwhile, takewhile
from pathlib import Path

import pytest

from tests.solvers.objective_table import COLUMNS, ROWS, cell

PAGE = Path(__file__).parents[2] / "docs" / "objectives.md"


def printed():
    """Return the cells of the page's first table."""
    after = dropwhile(lambda line: not line.startswith("|"), PAGE.read_text(encoding="utf-8").splitlines())
    lines = takewhile(lambda line: line.startswith("|"), after)
    rows = [[text.strip() for text in line.strip("|").split("|")] for line in lines]
    return {row[0]: dict(zip(rows[0][1:], row[1:], strict=True)) for row in rows[2:]}


@pytest.mark.parametrize("row", ROWS)
def test_every_cell_is_what_the_solvers_do(row):
    assert printed()[row] == {column: cell(row, column) for column in COLUMNS}


def test_the_page_has_every_row():
    assert list(printed()) == list(ROWS)
