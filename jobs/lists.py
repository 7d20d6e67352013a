"""Parts of summaries for people: the headline, and lists of files that failed, are damaged, altered or left behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from migrator.model import Altered, RunStatus
from migrator.pipeline import summary as summaries
from migrator.pipeline.run import RUN_AGAIN
from migrator.pipeline.summary import Failure, RunSummary, Summary, in_words
from migrator.printable import LINES, printable
from migrator.units import counted, human_number, human_size, human_took

if TYPE_CHECKING:
    from migrator.pipeline.summary import (
        ContentCounts,
        DeletionCounts,
        DryRunCounts,
        MapCounts,
        RestoreCounts,
        UploadCounts,
    )

    Counts = UploadCounts | RestoreCounts | DeletionCounts | DryRunCounts | ContentCounts | MapCounts

MAX_SHOWN = 10
"""Lines shown of a list; `--json` has all of them."""

_COLOURS = {"complete": "green", "incomplete": "yellow", "interrupted": "yellow"}


def not_asked_text(not_asked: summaries.NotAsked) -> str:
    """How many entities a night has not asked, and from when on all are asked."""
    day = datetime.fromisoformat(not_asked.full_from).astimezone().date()
    counts = f"{not_asked.entities:,} of {counted(not_asked.of, 'entity', 'entities')} unchanged since, not asked"
    return f"{counts}; everything is asked again from {day} on"


def print_headline(out: Console, summary: Summary, title: str = "") -> None:
    """The command, its run, how it ended, and after how many seconds."""
    number = f" (run {summary.run})" if summary.run else ""
    seconds, status = summary.seconds if isinstance(summary, RunSummary) else None, str(summary.status)
    duration = "" if seconds is None else f" in {human_took(seconds)}"
    out.print(
        Text(f"{title or summary.command}{number}: "), Text(status, _COLOURS.get(status, "red")), duration, sep=""
    )


def print_kept(out: Console, summary: Summary) -> None:
    """What stays of a run that was stopped, and how it goes on."""
    if summary.status is not RunStatus.INTERRUPTED:
        return
    if isinstance(summary, summaries.MigrateSummary):
        summary = summary.load if isinstance(summary.load, summaries.LoadSummary) else summary.backup
    if isinstance(summary, RunSummary) and summary.status is RunStatus.INTERRUPTED:
        out.print("; ".join(filter(None, (summary.kept(), RUN_AGAIN))))


def shown(text: str, style: str = "") -> Text:
    """Text that may come from a tracker, safe to print."""
    return Text(printable(text, LINES), style)


def print_line(out: Console, text: str, style: str = "") -> None:
    """Print text that may come from a tracker, with its line breaks as spaces."""
    out.print(shown(" ".join(text.split("\n")), style))


def print_first(out: Console, lines: Sequence[str], more: str = "(--json shows all)") -> None:
    """Print the first few lines, and how many more there are."""
    for line in lines[:MAX_SHOWN]:
        print_line(out, f"  {line}")
    if len(lines) > MAX_SHOWN:
        out.print(f"  ... and {human_number(len(lines) - MAX_SHOWN)} more {more}")


def rows_of(counts: Counts | dict[str, int], group: str = "") -> Iterator[tuple[str, str]]:
    """A row for each count: its name in words, and the number, or a size where the name says so."""
    if not isinstance(counts, dict):
        counts = {count.name: getattr(counts, count.name) for count in fields(counts)}
    for name, number in counts.items():
        shown = human_size(number) if name.endswith("bytes") else human_number(number)
        yield (f"{group}: " if group else "") + in_words(name), shown


def print_table(out: Console, rows: Iterable[tuple[str, str]]) -> None:
    """Print names and values side by side."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in rows:
        table.add_row(shown(name), value)
    out.print(table)


def print_general_failures(out: Console, failures: Iterable[Failure]) -> list[Failure]:
    """Print failures that belong to no file or entity, such as a listing, and return the others."""
    others = []
    for failure in failures:
        if failure.owner.kind or failure.owner.id or failure.attachment:
            others.append(failure)
        else:
            out.print(shown(f"{failure.name}: {failure.reason}", "red"))
    return others


def print_altered(out: Console, summary: summaries.LoadSummary | summaries.RestoreSummary) -> None:
    """Files that arrived, but that the tracker altered."""
    altered = summary.altered or ()
    if altered:
        side = "source" if isinstance(summary, summaries.RestoreSummary) else "target"
        out.print(Text(f"{counted(len(altered), 'file has', 'files have')} arrived, altered by the {side}", "yellow"))
    print_first(out, [f"{_file_name(upload)}: {_alteration(upload.how)}" for upload in altered])


def _alteration(how: Altered) -> str:
    if "name" in how:
        return f"sent as {how['name']['sent']!r}, called {how['name']['found']!r} there"
    if "content" in how:
        return "its text was re-encoded"
    return f"{how['size']['sent']:,} bytes, listed there as {how['size']['found']:,}"


def print_left(out: Console, summary: summaries.LoadSummary) -> None:
    """What a load left behind: what the archive lacks, mapping rows that match nothing, and files without a row."""
    if lacking := summary.not_in_archive:
        out.print(Text(f"not in the archive: {lacking_text(lacking)}; the next backup tries them again", "yellow"))
        print_by_reason(out, print_general_failures(out, lacking), "missing", "yellow")
    if rows := summary.unmatched_rows:
        what = counted(len(rows), "row of the mapping names", "rows of the mapping name")
        out.print(Text(f"{what} nothing in the archive", "yellow"))
        print_first(out, [f"{row.kind} {row.entity}" + (f" (line {row.line})" if row.line else "") for row in rows])
    if files := summary.unmapped_files:
        what = counted(len(files), "file belongs", "files belong")
        out.print(Text(f"{what} to entities without a row in the mapping", "yellow"))
        print_first(out, [_file_name(file) for file in files])


def _file_name(file: summaries.AlteredUpload | summaries.UnmappedFile | summaries.BlobFile) -> str:
    return f"{file.kind} {file.entity}".strip() + f" {file.name}"


def lacking_text(lacking: Sequence[Failure]) -> str:
    """What the archive lacks: `3 files, the rest of the listing of bugs`."""
    files = sum(failure.attachment is not None for failure in lacking)
    entities = sum(failure.attachment is None and bool(failure.owner.kind) for failure in lacking)
    parts = [counted(files, "file")] if files else []
    parts += [f"the files of {counted(entities, 'entity', 'entities')}"] if entities else []
    parts += [f"the rest of the {failure.name}" for failure in lacking if not failure.owner.kind]
    return ", ".join(parts)


def print_changed(out: Console, summary: summaries.LoadSummary) -> None:
    """Files at target entities to which the mapping no longer sends them."""
    by_entity: Counter[str] = Counter()
    for row in summary.changed or ():
        now = ", ".join(map(str, row.now)) or "nowhere"
        former = f"{row.target_kind} {row.target_id}".strip()
        by_entity[f"{row.kind} {row.entity}: went to {former}, belongs to {now}"] += 1
    if by_entity and summary.moved is None:
        what = counted(by_entity.total(), "file is", "files are")
        out.print(Text(f"{what} at entities that the mapping no longer names", "yellow"))
        out.print("(load --move-changed deletes there what has arrived at the new ones)")
    print_first(out, [f"{entity}: {counted(count, 'file')}" for entity, count in by_entity.items()])


def print_failures(out: Console, failures: Iterable[Failure], accepted: Iterable[Failure] | None = None) -> None:
    """Failures grouped by reason, each reason with its first files; those that are accepted apart, and last."""
    print_by_reason(out, failures, "failed", "yellow")
    print_by_reason(out, accepted or (), "failed, and accepted", "dim")


def print_by_reason(out: Console, failures: Iterable[Failure], what_happened: str, style: str) -> None:
    """How many failures have each reason, the most frequent first, and the first files of each."""
    by_reason: dict[str, list[str]] = {}
    for failure in failures:
        words = [f"{failure.owner.kind} {failure.owner.id}".strip(), failure.name]
        words += [f"(attachment {failure.attachment})"] if failure.attachment else []
        by_reason.setdefault(failure.reason, []).append(" ".join(filter(None, words)))
    for reason, items in sorted(by_reason.items(), key=lambda group: -len(group[1])):
        out.print(shown(f"{human_number(len(items))} {what_happened}: {reason}", style))
        print_first(out, items)


def print_problems(out: Console, problems: Sequence[summaries.Problem]) -> None:
    """Each problem with its files, and what to do next."""
    for problem in problems:
        detail = f" ({problem.detail})" if problem.detail is not None else ""
        out.print(shown(f"  {problem.code} {problem.problem}: {problem.path}{detail}", "red"))
        for line in _file_lines(problem.files or ()):
            print_line(out, f"      {line}")
    for line in _remedies(problems):
        out.print(Text(line))


def _file_lines(files: Sequence[summaries.BlobFile]) -> Iterator[str]:
    for file in files[:MAX_SHOWN]:
        gone = " (gone from the source)" if file.status == "gone" else ""
        yield f"{_file_name(file)} (attachment {file.attachment}){gone}"
    if len(files) > MAX_SHOWN:
        yield f"... and {human_number(len(files) - MAX_SHOWN)} more (--json shows more)"


def _remedies(problems: Sequence[summaries.Problem]) -> Iterator[str]:
    """What to do next, by kind of damage."""
    from migrator.pipeline.verify import CATALOG_CODES, JOURNAL_CODES

    codes = {problem.code for problem in problems}
    files_of_each = [problem.files for problem in problems if problem.files is not None]
    in_the_source = [any(file.status != "gone" for file in files) for files in files_of_each]
    if any(in_the_source):
        yield "next: `migrator backup CONFIG` fetches these files again, where the source still has them"
    if not all(in_the_source):
        yield "next: what the source no longer has can only come from a copy of this archive: put its blob in place"
        yield "      or give it up: `migrator prune ARCHIVE` with rules that no longer keep the snapshots that hold it"
    if "E03" in codes:
        yield "next: unknown files were put there by somebody else: look at them, then remove them"
    if codes & CATALOG_CODES:
        yield "next: `migrator rebuild ARCHIVE` rebuilds the catalog from what the archive holds"
    if codes & JOURNAL_CODES:
        yield "next: a backup, load or rebuild rewrites the manifest"
