"""`migrator snapshots ARCHIVE`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from migrator.jobs.options import archive_argument
from migrator.jobs.output import Output
from migrator.jobs.runtime import read_archive
from migrator.pipeline.summary import SnapshotsSummary

if TYPE_CHECKING:
    from migrator.jobs.place import Place


@click.command("snapshots")
@archive_argument
@click.pass_obj
def command(_: Output, /, *, archive: Place) -> SnapshotsSummary:
    """List what the archive remembers: a snapshot for each complete backup, and what changed since the one before.

    A snapshot is named by the number of its run. Give that number, or a date, to --at of export, report, load and
    status. A backup of a selection, or one in which something failed, makes no snapshot. Reads only.
    """
    from migrator.pipeline.snapshots import snapshots

    with read_archive(archive) as catalog:
        return snapshots(catalog)
