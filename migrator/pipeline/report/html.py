"""The report as one HTML page, made from the template `report.html.j2` beside this module.

The verdict comes first, then totals and differences. The entities follow, grouped by kind and folded, so that a browser
copes with 100,000 files; those with a failure are unfolded. The page is written while the rows are read, so its length
takes no memory. It loads nothing, and runs only the script beside this module, which the page's policy names by hash.

Beware: all text on it comes from a tracker. Autoescaping makes markup harmless, and `_shown` control characters and
marks that turn the direction of text; an address becomes a link only if it is http or https.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from importlib.resources import files
from itertools import groupby
from typing import TextIO
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from migrator.model import EntityRef
from migrator.pipeline.report.data import EntityReport, FileReport
from migrator.pipeline.report.differences import ARRIVED, Category
from migrator.pipeline.report.history import History, Point
from migrator.pipeline.report.totals import LARGEST, SIZES, UNKNOWN_SIZE, Totals
from migrator.pipeline.report.verdict import verdict_of
from migrator.pipeline.summary import in_words
from migrator.printable import printable
from migrator.units import human_duration, human_size

MAX_GROUPS = 30
"""Groups of files that differ in the same way, for each category in the overview."""
MAX_UNLISTED = 200
"""Entities in the overview whose files could not be listed."""
MAX_BARE_ENTITIES = 5_000
"""Entities without files that are named."""
MAX_BARS = 8
"""Bars of a chart."""
MAX_LABEL_CHARACTERS = 46
"""Characters of the label of a bar."""
_PIECES_PER_WRITE = 200
"""Pieces of the page that are written together."""
_CATEGORIES = (
    (Category.MISSING, "Missing"),
    (Category.ALTERED, "Renamed or altered"),
    (Category.INTENDED, "Left out, deleted or rolled back"),
)
"""The categories of differences, with their headings."""


def write_page(
    file: TextIO, totals: Totals, names: Mapping[str, str], history: History, entities: Iterable[EntityReport]
) -> None:
    """Write the whole page; `names` has the name of each system by its identity."""
    sizes = [(words, totals.sizes[words]) for words in [*(words for _, words in SIZES), LARGEST, UNKNOWN_SIZE]]
    style, script = _resource("report.css"), _resource("report.js")
    page = _template().stream(
        title=_title(totals, names),
        policy=_policy(style, script),
        style=Markup(style),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        verdict=verdict_of(totals, names),
        totals=totals,
        names=names,
        history=history,
        categories=_CATEGORIES,
        anchors=_anchors(totals),
        files_by_kind=[(kind or "?", count) for kind, count in totals.kinds.most_common(MAX_BARS)],
        files_by_size=sizes[: None if totals.sizes[UNKNOWN_SIZE] else -1] if totals.attachments else [],
        failures=_failures(totals).most_common(MAX_BARS),
        kinds=groupby(entities, lambda entity: entity.ref.kind),
        max_groups=MAX_GROUPS,
        max_unlisted=MAX_UNLISTED,
        max_bare=MAX_BARE_ENTITIES,
        max_label=MAX_LABEL_CHARACTERS,
    )
    page.enable_buffering(_PIECES_PER_WRITE)
    file.writelines(page)


def _title(totals: Totals, names: Mapping[str, str]) -> str:
    if not totals.source:
        return "Files of an issue tracker"
    targets = [names[target] for target, each in totals.targets.items() if each.is_in_use]
    source = names[totals.source]
    return f"Files of {source}, moved to {' and '.join(targets)}" if targets else f"Backup of the files of {source}"


def _resource(name: str) -> str:
    return (files("migrator.pipeline.report") / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """The content security policy: no source of anything, except for this style and this script."""
    rules = [f"{rule} 'sha256-{_digest(text)}'" for rule, text in (("style-src", style), ("script-src", script))]
    return "; ".join(["default-src 'none'", *rules, "base-uri 'none'", "form-action 'none'"])


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _anchors(totals: Totals) -> dict[EntityRef, int]:
    """A number for each entity to which the overview leads."""
    anchors: dict[EntityRef, int] = {}
    for category, _ in _CATEGORIES:
        for _, members in totals.groups_of(category)[:MAX_GROUPS]:
            for ref, _ in members.samples:
                anchors.setdefault(ref, len(anchors))
    return anchors


def _failures(totals: Totals) -> Counter[str]:
    """The number of files that failed for each reason."""
    failures = Counter[str]()
    for group, members in totals.groups.items():
        if group.failure:
            failures[group.text.partition(": ")[2] or group.text] += members.count
    return failures


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
        "bytes_of": lambda entity: sum(file.size_known or 0 for file in entity.files),
        "classes": _classes,
        "counted": _counted,
        "duration": human_duration,
        "in_unit": lambda value, unit: _UNITS[unit](value),
        "local": _local,
        "others": _others,
        "sums_of": _sums_of,
        "size": human_size,
        "thousands": "{:,}".format,
        "web_address": _web_address,
        "words": in_words,
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


def _classes(file: FileReport) -> Markup:
    """The categories of a file's differences as an attribute, by which the script filters."""
    names = " ".join(sorted({difference.category for difference in file.differences}))
    return Markup(' class="{}"').format(names) if names else Markup()


def _local(moment: str) -> str:
    """`29 November 2026, 02:05 (UTC+01:00)`, in the time zone of this machine."""
    local = datetime.fromisoformat(moment).astimezone()
    offset = f"{local:%z}"
    zone = "UTC" if offset == "+0000" else f"UTC{offset[:3]}:{offset[3:5]}"
    return f"{local.day} {local:%B %Y, %H:%M} ({zone})"


def _web_address(url: str) -> str:
    """The address if it is http or https, and nothing if it is another, such as `javascript:`."""
    if not url.lower().startswith(("http://", "https://")):
        return ""
    if url.isprintable():
        return url
    return "".join(char if char.isprintable() else quote(char, errors="replace") for char in url)


def _counted(number: int, one: str, many: str = "") -> str:
    """`1 file`, `2,000 files`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _sums_of(points: Sequence[Point], series: Sequence[tuple[str, str, str]]) -> list[float | None]:
    """For each point the sum of the fields of a chart; None where all are unknown."""
    values = [[getattr(point, name) for _, name, _ in series] for point in points]
    return [None if all(value is None for value in each) else sum(value or 0 for value in each) for each in values]


def _others(statuses: dict[str, int], size: str) -> str:
    """A size, followed by the number of files with each status that is not good."""
    good = {"stored", *ARRIVED}
    return "; ".join(
        [size, *(f"{count:,} {in_words(status)}" for status, count in sorted(statuses.items()) if status not in good)]
    )
