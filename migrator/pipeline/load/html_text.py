"""The text of an HTML description, for the stub of an entity."""

from __future__ import annotations

from collections.abc import Sequence
from html.parser import HTMLParser

from typing_extensions import override

_BREAKS = {"br", "p", "div", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "table", "pre", "blockquote"}
"""Tags that begin a new line."""
_HIDDEN = {"script", "style"}
"""Tags whose text is not shown."""


def plain_text(markup: str) -> str:
    """The text of HTML, with its line breaks. Text without tags stays the same."""
    if "<" not in markup and "&" not in markup:
        return markup.strip()
    parser = _TextParser()
    parser.feed(markup)
    parser.close()
    lines = "".join(parser.pieces).split("\n")
    return _without_blank_runs([" ".join(line.split()) for line in lines])


def _without_blank_runs(lines: Sequence[str]) -> str:
    kept = [line for line, before in zip(lines, ["", *lines], strict=False) if line or before]
    return "\n".join(kept).strip()


class _TextParser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._hidden_depth = 0

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden_depth += tag in _HIDDEN
        if tag in _BREAKS:
            self.pieces.append("\n")

    @override
    def handle_endtag(self, tag: str) -> None:
        self._hidden_depth -= tag in _HIDDEN and self._hidden_depth > 0
        if tag in _BREAKS - {"br"}:
            self.pieces.append("\n")

    @override
    def handle_data(self, data: str) -> None:
        if not self._hidden_depth:
            self.pieces.append(data)
