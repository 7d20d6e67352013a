"""Text that is safe to show."""

from __future__ import annotations

import pytest

from migrator.printable import LINES, printable, spreadsheet_cell


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain Ünïcode 名前", "plain Ünïcode 名前"),
        ("\x1b[2J", "\ufffd[2J"),
        ("txt.\u202eexe", "txt.\ufffdexe"),
        ("two\nlines\t", "two\ufffdlines\ufffd"),
        ("\udc80", "\ufffd"),
    ],
)
def test_what_a_terminal_would_obey_is_made_visible(text, shown):
    assert printable(text) == shown


def test_text_of_several_lines_keeps_its_line_breaks_and_tabs_alone():
    assert printable("two\nlines\t\r\x07", LINES) == "two\nlines\t\ufffd\ufffd"


@pytest.mark.parametrize("formula", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_spreadsheet_gets_a_formula_as_text(formula):
    assert spreadsheet_cell(formula) == f"'{formula}"
    assert spreadsheet_cell(f"a{formula}") == f"a{formula}"
