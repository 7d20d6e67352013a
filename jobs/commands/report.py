"""`migrator report ARCHIVE`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from migrator.jobs.options import archive_argument, at_option
from migrator.jobs.output import Output
from migrator.jobs.runtime import read_archive
from migrator.pipeline.summary import ReportSummary

if TYPE_CHECKING:
    from migrator.jobs.place import Place


@click.command("report")
@archive_argument
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the report as a page (.html), a table (.csv) or a document (.json), depending on the extension.",
)
@click.option(
    "--redirects",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a table (.csv) of the old and new address of every file that arrived, for rewriting links.",
)
@click.option(
    "--files",
    type=click.Path(path_type=Path, file_okay=False),
    help="An exported tree or bag: the names in the page lead to its files. Keep the two together.",
)
@at_option
@click.pass_obj
def command(
    _: Output, /, *, archive: Place, out: Path | None, redirects: Path | None, files: Path | None, at: str
) -> ReportSummary:
    """Write what was in the source, what is in ARCHIVE, what is at the target, and what differs and why.

    The page begins with a verdict in one sentence, and can be filtered and sorted. It is self-contained: it can be
    filed, printed and mailed. Reads only; works while a run is under way.
    """
    if not (out or redirects):
        raise click.UsageError("say what to write: --out, --redirects or both")
    return write_report(archive, out, redirects, at, files)


def write_report(
    archive: Place, out: Path | None, redirects: Path | None = None, at: str = "", tree: Path | None = None
) -> ReportSummary:
    """Write the files that are named; blocks."""
    from migrator.pipeline.report import UrlOf, report
    from migrator.trackers import adapter, tracker_names

    def url_of(identity: str) -> UrlOf:
        tracker = identity.partition(" ")[0]
        return adapter(tracker).url_of if tracker in tracker_names() else lambda _base, _attachment: ""

    def title_of(tracker: str) -> str:
        return (adapter(tracker).guide.name if tracker in tracker_names() else "") or tracker.capitalize()

    with read_archive(archive, at) as catalog:
        return report(catalog, url_of, out, redirects, title_of=title_of, tree=tree)
