"""Text that a terminal or a page may show: names, titles and reasons come from a tracker."""

from __future__ import annotations

LINES = "\n\t"
"""What text of several lines keeps."""


def printable(text: str, keep: str = "") -> str:
    """The text with U+FFFD for each character that is not printable, such as one that a terminal would obey.

    `keep` are characters that stay all the same.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in keep else "\ufffd" for char in text)
