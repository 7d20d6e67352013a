"""`migrator export ARCHIVE DEST`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from migrator.jobs.options import archive_argument, at_option, selection_options
from migrator.jobs.output import Output
from migrator.pipeline.summary import ExportSummary

if TYPE_CHECKING:
    from migrator.jobs.place import Place
    from migrator.pipeline.export import ExportSettings
    from migrator.selection import Selection


@click.command("export")
@archive_argument
@click.argument("dest", type=click.Path())
@click.option(
    "--format",
    "shape",
    type=click.Choice(["tree", "bagit", "zip"]),
    required=True,
    help="Write a folder of files, a bag (BagIt, RFC 8493), or a ZIP file.",
)
@click.option(
    "--link",
    is_flag=True,
    help="Make hard links instead of copies: they take no space, but they ARE the archive's files.",
)
@click.option("--copy", is_flag=True, help="Make copies, which is the default.")
@click.option("--include-gone", is_flag=True, help="Also export files that were deleted at the source.")
@at_option
@selection_options
@click.pass_obj
def command(
    output: Output,
    /,
    *,
    archive: Place,
    dest: str,
    shape: str,
    link: bool,
    copy: bool,
    include_gone: bool,
    at: str,
    selection: Selection,
) -> ExportSummary:
    """Write the files of ARCHIVE to DEST by their own names, for people and other tools.

    DEST must not exist, or must be an empty folder; for zip it must not exist. Names are made legal on Linux, macOS and
    Windows; index.csv has the original ones, with titles, authors, dates and addresses, and opens in a spreadsheet.
    Filters that match no file are refused (exit status 2).

    Each file is hashed as it is written: a damaged one is named and left out (exit status 5). So is what the archive
    lacks, as its download failed or is still to come (exit status 3). An export that is stopped or killed leaves
    nothing at DEST.

    DEST may be in a store: s3://bucket/folder, or s3://bucket/files.zip, reached like ARCHIVE if that is in a store of
    the same kind, else as the environment says. Files are sent while they are read. What a kill leaves there, the next
    export to the same place deletes.

    The files are copies, dated like the attachments, to do with as you like; they take no space if the file system can
    clone files (btrfs, XFS). With --link they are the archive's own files, and read-only.
    """
    from pathlib import Path

    from migrator.jobs.place import destination_named
    from migrator.jobs.runtime import run_job
    from migrator.pipeline.export import ExportSettings

    if link and copy:
        raise click.UsageError("--link and --copy can't be used together")
    destination = destination_named(dest, archive, file=shape == "zip")
    if link and not isinstance(destination, Path):
        raise click.UsageError(f"--link: a store has no hard links, and DEST is {dest}")
    settings = ExportSettings(destination, shape, links=link, gone=include_gone, selection=selection)
    if at and include_gone:
        raise click.UsageError("--at and --include-gone can't be used together: a snapshot has no deleted files")
    return run_job(lambda stop: _export(archive, settings, at, output, stop))


async def _export(
    place: Place, settings: ExportSettings, at: str, output: Output, stop: asyncio.Event
) -> ExportSummary:
    from migrator.jobs.runtime import held_archive
    from migrator.pipeline.export import export
    from migrator.pipeline.snapshots import view_at

    with held_archive(place, "export", reads=True) as (archive, catalog), output.progress("export") as progress:
        view_at(catalog, at)
        return await export(archive, catalog, settings, progress=progress, stop=stop)
