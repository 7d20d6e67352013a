"""`migrator accept ARCHIVE`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from migrator.jobs.options import archive_argument, entity
from migrator.jobs.output import Output
from migrator.jobs.runtime import held_archive, read_archive
from migrator.model import EntityRef
from migrator.pipeline.summary import AcceptSummary

if TYPE_CHECKING:
    from migrator.jobs.place import Place


@click.command("accept")
@archive_argument
@click.option("--attachment", "attachments", multiple=True, metavar="ID", help="This file; may be repeated.")
@click.option(
    "--entity",
    "entities",
    type=entity,
    multiple=True,
    metavar="[KIND:]ID",
    help="This entity and all files on it; may be repeated.",
)
@click.option("--all", "everything", is_flag=True, help="All files and entities that fail now.")
@click.option("--undo", is_flag=True, help="Let them count as failures again.")
@click.option("--list", "only_list", is_flag=True, help="Change nothing; show what is accepted and what is not.")
@click.pass_obj
def command(
    _: Output,
    /,
    *,
    archive: Place,
    attachments: tuple[str, ...],
    entities: tuple[EntityRef, ...],
    everything: bool,
    undo: bool,
    only_list: bool,
) -> AcceptSummary:
    """Accept failures of the backup that can't be fixed, such as images that the tracker's API can't download.

    What is accepted stays listed and is tried again by each backup, but no longer makes it incomplete: a backup that
    fails in nothing else ends with status 0 and makes a snapshot. An acceptance ends when the file is stored, or when
    it fails for another kind of reason. Listings that can't be read, and uploads, can't be accepted.
    """
    from migrator.pipeline.accept import Choice, accept, accepted_failures, withdraw

    choice = Choice(attachments, entities, everything)
    if only_list == (choice != Choice()) or (only_list and undo):
        raise click.UsageError("say what to accept with --attachment, --entity or --all, or look with --list")
    if only_list:
        with read_archive(archive) as catalog:
            return accepted_failures(catalog)
    with held_archive(archive, "accept") as (_folder, catalog):
        return (withdraw if undo else accept)(catalog, choice)
