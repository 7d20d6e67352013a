"""The report as one page: no scripts, nothing from elsewhere, charts drawn as SVG, entities folded in.

The one idea: the sums and what differs stand open on top; the entities follow, grouped by kind and folded, so that a
browser bears 100,000 files; those with a failure are open. In print everything that is open is printed.
The one trap: every text comes from a tracker: it passes `shown`, and an address is a link only if it is http(s).
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TextIO

from migrator.pipeline.report.data import LARGEST, SIZES, THERE, EntityReport, FileReport, Totals, UploadReport
from migrator.units import human_size

REASONS = 30
"""So many reasons are told of on top, the most frequent first."""
UNLISTED = 200
"""So many entities whose files could not be listed."""
CHART_WORDS = 46
"""Characters of the words above a bar."""

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="referrer" content="no-referrer">
<title>Attachments: report</title>
<style>
:root { --ink: #1c2430; --soft: #5b6675; --line: #dfe4ea; --blue: #2f6db5; --red: #b3261e; --amber: #8a5a00; }
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); margin: 0 auto; max-width: 1100px; padding: 32px 24px }
h1 { font-size: 26px; margin: 0 } h2 { font-size: 19px; margin: 36px 0 12px } h3 { font-size: 15px; margin: 0 0 8px }
.soft { color: var(--soft) } .bad { color: var(--red) } .note { color: var(--amber) }
.tiles { display: grid; grid-template-columns: repeat(3, 1fr); gap: 16px; margin-top: 24px }
.tile { border: 1px solid var(--line); border-radius: 8px; padding: 14px 18px; overflow-wrap: anywhere }
.tile b { display: block; font-size: 26px; line-height: 1.2 }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(320px, 1fr)); gap: 16px }
svg { width: 100%; height: auto; display: block } svg text { font-size: 12px; fill: var(--ink) }
summary { cursor: pointer; padding: 4px 0; overflow-wrap: anywhere }
details.kind > summary { font-weight: 600; font-size: 16px }
details.entity { border-top: 1px solid var(--line); margin-left: 18px; content-visibility: auto;
  contain-intrinsic-size: auto 33px }
table { border-collapse: collapse; width: 100%; margin: 4px 0 12px; font-size: 13px; table-layout: fixed }
th, td { text-align: left; vertical-align: top; padding: 5px 8px 5px 0; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere }
th { font-weight: 600; color: var(--soft) } code { font-size: 11px; color: var(--soft) } a { color: var(--blue) }
ul { margin: 4px 0 12px; padding-left: 20px }
@media print { body { max-width: none; padding: 0; font-size: 11px } .tile, .charts > div, tr { break-inside: avoid }
  a { color: inherit; text-decoration: none } details.entity { content-visibility: visible } }
</style></head><body>
"""


def shown(text: str) -> str:
    """Text as HTML, in its own direction; what is not printable is made visible."""
    clean = "".join(char if char.isprintable() else "\ufffd" for char in text)
    return f"<bdi>{html.escape(clean)}</bdi>"


def link(url: str, text: str) -> str:
    """The text, linked where the address is one of the web."""
    if not url.lower().startswith(("http://", "https://")):
        return shown(text)
    return f'<a rel="noreferrer" href="{html.escape(url)}">{shown(text)}</a>'


def bars(title: str, rows: Sequence[tuple[str, int]], colour: str = "#2f6db5") -> str:
    """A chart of horizontal bars, as SVG: the words above each bar, the number behind it."""
    if not rows:
        return ""
    longest = max(value for _, value in rows) or 1
    lines = []
    for number, (words, value) in enumerate(rows):
        y, cut = number * 36, words if len(words) <= CHART_WORDS else words[: CHART_WORDS - 1] + "…"
        width = 260 * value / longest
        lines.append(
            f'<text x="0" y="{y + 12}">{html.escape(_printable(cut))}</text>'
            f'<rect x="0" y="{y + 17}" width="{width:.1f}" height="11" rx="2" fill="{colour}"/>'
            f'<text x="{width + (6 if width else 0):.1f}" y="{y + 27}">{value:,}</text>'
        )
    view = f'viewBox="0 0 320 {len(rows) * 36}" role="img" aria-label="{html.escape(title)}"'
    return f'<div class="tile"><h3>{html.escape(title)}</h3><svg {view}>{"".join(lines)}</svg></div>'


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def write_page(file: TextIO, totals: Totals, chapters: Iterable[EntityReport]) -> None:
    """Write the whole page."""
    file.write(_HEAD)
    file.write(f'<h1>Attachments</h1><div class="soft">{shown(totals.source or "no source yet")}, ')
    file.write(f"as of {html.escape(totals.made_at)}</div>\n")
    file.write(_tiles(totals) + _charts(totals) + _differences(totals))
    file.write("<h2>Entity by entity</h2>\n")
    for kind, some in groupby(chapters, lambda chapter: chapter.ref.kind):
        files, size = totals.kinds[kind], human_size(totals.kind_bytes[kind])
        file.write(f'<details class="kind" open><summary>{shown(kind)}: {_count(files, "file")}, {size}</summary>\n')
        without = 0
        for chapter in some:
            without += not (chapter.files or chapter.error)
            if chapter.files or chapter.error:
                file.write(_entity(chapter))
        if without:
            file.write(f'<p class="soft">{without:,} more without a file</p>')
        file.write("</details>\n")
    file.write("</body></html>\n")


def _tiles(totals: Totals) -> str:
    stored, gone = totals.statuses["stored"], totals.statuses["gone"]
    listed, left = totals.attachments - gone, f", {gone:,} more were deleted there" if gone else ""
    tiles = [
        (
            "In the source",
            f"{listed:,} files",
            f"{human_size(totals.listed_bytes)} on {totals.entities:,} entities{left}",
        ),
        ("In the archive", f"{stored:,} files", _statuses(totals.statuses, human_size(totals.archived_bytes))),
    ]
    for target, counts in totals.targets.items():
        there = sum(counts[status] for status in THERE)
        tiles.append((f"At the target: {target}", f"{there:,} files", _statuses(counts, _at(totals, target))))
    if not totals.targets:
        tiles.append(("At the target", "none", "nothing was loaded yet"))
    cells = [
        f'<div class="tile"><span class="soft">{shown(title)}</span>'
        f"<b>{html.escape(number)}</b>{html.escape(more)}</div>"
        for title, number, more in tiles
    ]
    return f'<div class="tiles">{"".join(cells)}</div>\n'


def _at(totals: Totals, target: str) -> str:
    same = totals.content[target]
    return human_size(totals.target_bytes[target]) + (f", {same:,} read back and equal" if same else "")


def _statuses(counts: dict[str, int], size: str) -> str:
    good = {"stored", *THERE}
    rest = [f"{count:,} {status.replace('_', ' ')}" for status, count in sorted(counts.items()) if status not in good]
    return ", ".join([size, *rest])


def _charts(totals: Totals) -> str:
    kinds = [(kind or "?", count) for kind, count in totals.kinds.most_common(8)]
    sizes = [(words, totals.sizes[words]) for words in [*(words for _, words in SIZES), LARGEST]]
    worst = [(reason, count) for (reason, bad), count in totals.reasons.most_common() if bad]
    failed = [(reason.partition(": ")[2] or reason, count) for reason, count in worst[:8]]
    charts = bars("Files by kind", kinds) + (bars("Files by size", sizes) if totals.attachments else "")
    return f'<h2>Overview</h2><div class="charts">{charts}{bars("Failures", failed, "#b3261e")}</div>\n'


def _differences(totals: Totals) -> str:
    parts = ["<h2>What differs, and why</h2>"]
    if not totals.reasons and not totals.unlisted:
        parts.append(
            "<p>Nothing: every file of the source is in the archive"
            + (", and at the target as it was.</p>" if totals.targets else ".</p>")
        )
    worst_first = sorted(totals.reasons.items(), key=lambda item: (not item[0][1], -item[1]))
    for (reason, bad), count in worst_first[:REASONS]:
        files = "".join(f"<li>{shown(sample)}</li>" for sample in totals.samples[reason])
        more = (
            f"<li>and {count - len(totals.samples[reason]):,} more</li>" if count > len(totals.samples[reason]) else ""
        )
        parts.append(
            f'<details><summary><span class="{_class(bad=bad)}">{_count(count, "file")}</span>: '
            f"{shown(reason)}</summary><ul>{files}{more}</ul></details>"
        )
    if left := len(worst_first) - REASONS:
        parts.append(f"<p>{left:,} further reasons: see each entity.</p>" if left > 0 else "")
    parts += [f'<p class="bad">Files could not be listed: {shown(one)}</p>' for one in totals.unlisted[:UNLISTED]]
    return "\n".join(parts) + "\n"


def _class(*, bad: bool) -> str:
    return "bad" if bad else "note"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _entity(chapter: EntityReport) -> str:
    failed = bool(chapter.error) or any(bad for filed in chapter.files for _, bad in filed.remarks)
    differs = f' <span class="{_class(bad=failed)}">differs</span>' if failed or _noted(chapter) else ""
    title = link(chapter.url, f"{chapter.ref.id} {chapter.title}".strip() or "no entity")
    head = f"<summary>{title} <span class='soft'>{_count(len(chapter.files), 'file')}</span>{differs}</summary>"
    error = f'<p class="bad">{shown(chapter.error)}</p>' if chapter.error else ""
    rows = "".join(map(_row, chapter.files))
    columns = '<tr><th style="width:30%">name</th><th style="width:9%">size</th><th>archive, SHA-256</th>'
    table = f'<table>{columns}<th style="width:30%">target</th></tr>{rows}</table>' if rows else ""
    return f'<details class="entity"{" open" if failed else ""}>{head}{error}{table}</details>\n'


def _noted(chapter: EntityReport) -> bool:
    return any(filed.remarks for filed in chapter.files)


def _row(filed: FileReport) -> str:
    size = filed.size if filed.size is not None else filed.of.size
    remarks = "".join(f'<div class="{_class(bad=bad)}">{shown(remark)}</div>' for remark, bad in filed.remarks)
    archived = f"{html.escape(filed.status)} <code>{html.escape(filed.sha256)}</code>"
    sent = "".join(f"<div>{_arrived(one, filed.of.name)}</div>" for one in filed.sent)
    told = "" if size is None else human_size(size)
    return (
        f"<tr><td>{link(filed.url, filed.of.name)}{remarks}</td><td>{told}</td><td>{archived}</td><td>{sent}</td></tr>"
    )


def _arrived(one: UploadReport, name: str) -> str:
    what = f"{one.to}, {one.status.replace('_', ' ')}" + (f" as {one.name}" if one.name not in {"", name} else "")
    if "name" in one.altered:
        what += f" (sent as {one.altered['name']['sent']})"
    content = {"same": ", read back and equal", "differs": ", read back and not equal"}.get(one.content, "")
    return link(one.url, what) + content
