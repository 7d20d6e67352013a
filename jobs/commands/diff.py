"""`migrator diff ARCHIVE [OLDER [NEWER]]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from migrator.jobs.options import archive_argument
from migrator.jobs.output import Output
from migrator.jobs.runtime import read_archive
from migrator.pipeline.summary import DiffSummary

if TYPE_CHECKING:
    from migrator.jobs.place import Place


@click.command("diff")
@archive_argument
@click.argument("older", default="")
@click.argument("newer", default="")
@click.pass_obj
def command(_: Output, /, *, archive: Place, older: str, newer: str) -> DiffSummary:
    """Show which attachments were added, removed, renamed, moved or replaced between two snapshots.

    OLDER and NEWER are numbers of runs (see `migrator snapshots`) or dates; without them, the last two snapshots are
    compared, and with OLDER alone, everything since. Reads only.
    """
    from migrator.pipeline.snapshots import diff

    with read_archive(archive) as catalog:
        return diff(catalog, older, newer)
