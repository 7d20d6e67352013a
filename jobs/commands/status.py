"""`migrator status ARCHIVE`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from migrator.jobs.given import is_file
from migrator.jobs.options import archive_argument, at_option
from migrator.jobs.output import Output
from migrator.jobs.place import folder_of, shown
from migrator.jobs.remote import holder_elsewhere
from migrator.jobs.runtime import read_archive
from migrator.model import RunStatus
from migrator.pipeline.summary import StatusSummary

if TYPE_CHECKING:
    from migrator.jobs.place import Place
    from migrator.pipeline.prune import Retention


@click.command("status")
@archive_argument
@at_option
@click.option("--check", is_flag=True, help="Exit with 3 unless the first line is green, for scripts and monitoring.")
@click.pass_obj
def command(output: Output, /, *, archive: Place, at: str, check: bool) -> StatusSummary:
    """Whether the backup is fine, what is damaged, what failed and why, counts and runs.

    The first line is the answer: green if the last complete backup is recent, nothing fails and nothing is damaged;
    yellow if something needs a look; red if there is damage, or no complete backup for far longer than usual.

    Reads only; works while a run is under way.

    The exit status is that of the archive: 5 if verify or an export found damage that has not been repaired since, 3 if
    files failed, otherwise 0. With --check, it is also 3 if the first line is yellow or red: if the last backup broke
    off, the last complete one is too old, or there is none; and a bucket that can't be read ends it with 7.
    """
    from migrator.pipeline.condition import condition
    from migrator.pipeline.health import FINE

    if check and at:
        raise click.UsageError("--check judges the archive as it is now, so it can't be used with --at")
    with read_archive(archive, at, as_in_bucket=check) as catalog:
        found = condition(catalog, folder_of(archive), holder_elsewhere(archive), _retention(output.given))
    if check and found.status is RunStatus.COMPLETE and found.health and found.health.verdict != FINE:
        found = replace(found, status=RunStatus.INCOMPLETE)
    return replace(found, archive=shown(archive))


def _retention(given: str | None) -> Retention:
    """The rules of [retention], if a configuration was given."""
    from migrator.pipeline.prune import KEEP_ALL

    if not given or not is_file(Path(given)):
        return KEEP_ALL
    from migrator.config import read_configuration
    from migrator.jobs.commands.prune import configured_retention

    return configured_retention(read_configuration(Path(given)))
