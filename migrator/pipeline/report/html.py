"""The report as one HTML page, made from the template `report.html.j2` beside this module.

Totals and differences stand open on top. The entities follow, grouped by kind and folded, so that a browser copes with
100,000 files; those with a failure are open. The page is written while the rows are read, so its length costs no
memory. It has no script and loads nothing.

Beware: every text on it comes from a tracker. Autoescaping makes markup harmless, and `_shown` does so for control
characters and marks that turn the direction of text; an address becomes a link only if it is http or https.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from itertools import groupby
from typing import TextIO
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from migrator.pipeline.report.data import LARGEST, SIZES, THERE, EntityReport, Totals
from migrator.printable import printable
from migrator.units import human_size

MAX_REASONS = 30
"""Reasons named in the overview, the most frequent first."""
MAX_UNLISTED = 200
"""Entities named whose files could not be listed."""
MAX_BARS = 8
"""Bars of a chart."""
CHART_WORDS = 46
"""Characters of the words above a bar."""
_WRITTEN_AT_ONCE = 200
"""Pieces of the page that are joined before they are written."""


def write_page(file: TextIO, totals: Totals, chapters: Iterable[EntityReport]) -> None:
    """Write the whole page."""
    reasons = totals.reasons.most_common()
    failures = [(reason.partition(": ")[2] or reason, count) for (reason, bad), count in reasons if bad]
    sizes = [(words, totals.sizes[words]) for words in [*(words for _, words in SIZES), LARGEST]]
    page = _template().stream(
        totals=totals,
        reasons=sorted(reasons, key=lambda item: not item[0][1]),
        files_by_kind=[(kind or "?", count) for kind, count in totals.kinds.most_common(MAX_BARS)],
        files_by_size=sizes if totals.attachments else [],
        failures=failures[:MAX_BARS],
        kinds=groupby(chapters, lambda chapter: chapter.ref.kind),
        max_reasons=MAX_REASONS,
        max_unlisted=MAX_UNLISTED,
        chart_words=CHART_WORDS,
    )
    page.enable_buffering(_WRITTEN_AT_ONCE)
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
        "arrived": lambda statuses: sum(statuses[status] for status in THERE),
        "counted": _counted,
        "others": _others,
        "size": human_size,
        "thousands": "{:,}".format,
        "web_address": _web_address,
        "words": _words,
    }
    return environment.get_template("report.html.j2")


def _shown(value: object) -> object:
    """What the template puts on the page; in text from elsewhere, what is not printable is made visible."""
    return value if isinstance(value, Markup) else printable(str(value))


def _web_address(url: str) -> str:
    """The address if it is one of the web, and nothing if it is another, such as a `javascript:`."""
    if not url.lower().startswith(("http://", "https://")):
        return ""
    if url.isprintable():
        return url
    return "".join(char if char.isprintable() else quote(char, errors="replace") for char in url)


def _counted(number: int, what: str) -> str:
    """`1 file`, `2,000 files`."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _words(status: str) -> str:
    """A status as people write it."""
    return status.replace("_", " ")


def _others(statuses: dict[str, int], size: str) -> str:
    """A size, and after it the counts of the files that are not where they should be."""
    good = {"stored", *THERE}
    return ", ".join(
        [size, *(f"{count:,} {_words(status)}" for status, count in sorted(statuses.items()) if status not in good)]
    )
