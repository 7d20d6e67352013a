"""`migrator status ARCHIVE`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from migrator.jobs.options import archive_argument, at_option
from migrator.jobs.output import Output
from migrator.jobs.place import folder_of, shown
from migrator.jobs.remote import holder_elsewhere
from migrator.jobs.runtime import read_archive
from migrator.pipeline.summary import StatusSummary

if TYPE_CHECKING:
    from migrator.jobs.place import Place


@click.command("status")
@archive_argument
@at_option
@click.pass_obj
def command(_: Output, /, *, archive: Place, at: str) -> StatusSummary:
    """Whether the backup is fine, what is damaged, what failed and why, counts and runs.

    The first line is the answer: green if the last complete backup is recent, nothing fails and nothing is damaged;
    yellow if something needs a look; red if there is damage, or no complete backup for far longer than usual.

    Reads only; works while a run is under way.

    The exit status is that of the archive: 5 if verify or an export found damage that has not been repaired since, 3 if
    files failed, otherwise 0.
    """
    from migrator.pipeline.condition import condition

    with read_archive(archive, at) as catalog:
        return replace(condition(catalog, folder_of(archive), holder_elsewhere(archive)), archive=shown(archive))
