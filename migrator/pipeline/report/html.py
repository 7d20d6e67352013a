"""The report as one HTML page, made from the template `report.html.j2` beside this module.

Totals and differences come first. The entities follow, grouped by kind and folded, so that a browser copes with 100,000
files; those with a failure are unfolded. The page is written while the rows are read, so its length takes no memory. It
has no script and loads nothing.

Beware: all text on it comes from a tracker. Autoescaping makes markup harmless, and `_shown` control characters and
marks that turn the direction of text; an address becomes a link only if it is http or https.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import groupby
from typing import TextIO
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from migrator.pipeline.report.data import ARRIVED, LARGEST, SIZES, EntityReport, Totals
from migrator.pipeline.report.history import History, Point
from migrator.printable import printable
from migrator.units import human_duration, human_size

MAX_REASONS = 30
"""Reasons in the overview, the most frequent ones."""
MAX_UNLISTED = 200
"""Entities in the overview whose files could not be listed."""
MAX_BARS = 8
"""Bars of a chart."""
MAX_LABEL_CHARACTERS = 46
"""Characters of the label of a bar."""
_PIECES_PER_WRITE = 200
"""Pieces of the page that are written together."""


def write_page(file: TextIO, totals: Totals, history: History, entities: Iterable[EntityReport]) -> None:
    """Write the whole page."""
    reasons = totals.reasons.most_common()
    failures = [(reason.partition(": ")[2] or reason, count) for (reason, bad), count in reasons if bad]
    sizes = [(words, totals.sizes[words]) for words in [*(words for _, words in SIZES), LARGEST]]
    page = _template().stream(
        totals=totals,
        history=history,
        reasons=sorted(reasons, key=lambda item: not item[0][1]),
        files_by_kind=[(kind or "?", count) for kind, count in totals.kinds.most_common(MAX_BARS)],
        files_by_size=sizes if totals.attachments else [],
        failures=failures[:MAX_BARS],
        kinds=groupby(entities, lambda entity: entity.ref.kind),
        max_reasons=MAX_REASONS,
        max_unlisted=MAX_UNLISTED,
        max_label=MAX_LABEL_CHARACTERS,
    )
    page.enable_buffering(_PIECES_PER_WRITE)
    file.writelines(page)


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("migrator.pipeline.report", ""),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "arrived": lambda statuses: sum(statuses[status] for status in ARRIVED),
        "counted": _counted,
        "duration": human_duration,
        "in_unit": lambda value, unit: _UNITS[unit](value),
        "others": _others,
        "sums_of": _sums_of,
        "size": human_size,
        "thousands": "{:,}".format,
        "web_address": _web_address,
        "words": _words,
    }
    return environment.get_template("report.html.j2")


_UNITS: dict[str, Callable[[float], str]] = {
    "duration": human_duration,
    "number": "{:,}".format,
    "size": lambda value: human_size(int(value)),
}
"""How the values of a chart are written."""


def _shown(value: object) -> object:
    """A value as the template puts it on the page."""
    return value if isinstance(value, Markup) else printable(str(value))


def _web_address(url: str) -> str:
    """The address if it is http or https, and nothing if it is another, such as `javascript:`."""
    if not url.lower().startswith(("http://", "https://")):
        return ""
    if url.isprintable():
        return url
    return "".join(char if char.isprintable() else quote(char, errors="replace") for char in url)


def _counted(number: int, noun: str) -> str:
    """`1 file`, `2,000 files`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _sums_of(points: Sequence[Point], series: Sequence[tuple[str, str, str]]) -> list[float | None]:
    """For each point the sum of the fields of a chart; None where all are unknown."""
    values = [[getattr(point, name) for _, name, _ in series] for point in points]
    return [None if all(value is None for value in each) else sum(value or 0 for value in each) for each in values]


def _words(status: str) -> str:
    """A status in words."""
    return status.replace("_", " ")


def _others(statuses: dict[str, int], size: str) -> str:
    """A size, followed by the number of files with each status that is not good."""
    good = {"stored", *ARRIVED}
    return ", ".join(
        [size, *(f"{count:,} {_words(status)}" for status, count in sorted(statuses.items()) if status not in good)]
    )
