"""Text that is safe to show on a terminal, on a page or in a spreadsheet: names and titles come from a tracker."""

from __future__ import annotations

LINES = "\n\t"
"""What text of several lines keeps."""
BYTE_ORDER_MARK = "\ufeff"
"""At the beginning of a CSV file, so that a spreadsheet takes it for UTF-8."""


def printable(text: str, keep: str = "") -> str:
    """The text with U+FFFD for each character that is not printable, such as one that a terminal would obey.

    `keep` are characters that stay all the same.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in keep else "\ufffd" for char in text)


def spreadsheet_cell(text: str) -> str:
    """The text, with an apostrophe before it if a spreadsheet would run it as a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
