"""`migrator backup CONFIG`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from migrator.jobs.options import address, config_argument, paranoid_option, selection_options, share
from migrator.jobs.output import Output
from migrator.pipeline.summary import BackupSummary

if TYPE_CHECKING:
    from migrator.config import Configuration
    from migrator.selection import Selection


@click.command("backup")
@config_argument
@selection_options
@paranoid_option
@click.option("--accept-gone", is_flag=True, help="Mark files as gone, however many are no longer listed.")
@click.option("--full", is_flag=True, help="Fetch every stored file again and compare it with the archive.")
@click.option("--recheck", type=share, metavar="PERCENT", help="The same for a share of the files, e.g. 1%; see above.")
@click.option(
    "--moved-from",
    type=address,
    metavar="OLD_URL",
    help="Continue with the archive of the tracker's previous address.",
)
@click.pass_obj
def command(
    output: Output,
    /,
    *,
    config: Path,
    selection: Selection,
    paranoid: bool,
    accept_gone: bool,
    full: bool,
    recheck: float | None,
    moved_from: str | None,
) -> BackupSummary:
    """Crawl the source of CONFIG and store every attachment in its archive.

    After a stop or a kill, the same command resumes; after a complete backup, it fetches only what is new or changed. A
    file that can't be fetched is listed with its reason (exit status 3), and the next run tries it again. A file that
    the tracker no longer lists is `gone`; its blob stays. If more than [source] max_gone of all files are no longer
    listed, none is marked as gone (exit status 3) unless --accept-gone confirms it.

    A file that was changed at the source but kept its size and date shows only if it is fetched again: --full does that
    for every stored file, --recheck 1% for one in a hundred, from where the last run ended. What differs is stored, and
    counted as replaced.

    What --limit and the filters leave out is counted as skipped, and fetched by a later run without them.

    If the tracker's address has changed in CONFIG, --moved-from OLD_URL, given once, continues with the archive made
    from the old address. Files in it must have the same ids, names and sizes at the new one (otherwise exit status 2).
    """
    from migrator.config import read_configuration
    from migrator.jobs.runtime import run_job

    if full and recheck:
        raise click.UsageError("--full rechecks every file, so it can't be used together with --recheck")
    configuration = read_configuration(config)
    return run_job(
        lambda stop: run_backup(
            configuration,
            output,
            stop,
            selection,
            paranoid=paranoid,
            accept_gone=accept_gone,
            recheck=1.0 if full else recheck or 0.0,
            moved_from=moved_from,
        )
    )


async def run_backup(
    configuration: Configuration,
    output: Output,
    stop: asyncio.Event,
    selection: Selection | None = None,
    *,
    paranoid: bool = False,
    accept_gone: bool = False,
    recheck: float = 0.0,
    full_every: float | None = None,
    moved_from: str | None = None,
) -> BackupSummary:
    """Log in, lock the archive, back up; `moved_from` is the tracker's previous address, `recheck` the share of the
    stored files that is fetched again, `full_every` the seconds after which unchanged entities are asked, too.
    """
    from migrator.jobs.fetching import fetch_place
    from migrator.jobs.place import place_of
    from migrator.jobs.runtime import cancel_on_stop, failure_recorded, failure_recorded_in, held_archive
    from migrator.jobs.wiring import wire_source
    from migrator.pipeline.backup import BackupSettings, backup, relocate
    from migrator.selection import EVERYTHING, require_known_kinds

    source = wire_source(configuration, paranoid=paranoid, patient=not sys.stderr.isatty())
    for warning in source.warnings:
        output.warn(warning)
    section, limits = configuration.settings.source, configuration.settings.limits
    selection = selection or EVERYTHING
    known = source.tracker.capabilities.kinds
    require_known_kinds(selection.kinds, known, "--kind")
    require_known_kinds([ref.kind for ref in selection.entities if ref.kind], known, "--entity")
    try:
        with failure_recorded_in(place_of(configuration), "backup"):
            output.note(f"source: {await cancel_on_stop(source.tracker.check(), stop)}")
        settings = BackupSettings(
            source.identity,
            section.kinds,
            limits.downloads,
            section.allow_forbidden,
            selection,
            None if accept_gone else section.max_gone,
            recheck,
            full_every,
        )
        async with fetch_place(source, configuration, stop) as place:
            with (
                held_archive(place_of(configuration), "backup", create=not moved_from) as (archive, catalog),
                output.progress("backup", done="kept", waits=source.waits) as progress,
            ):
                if moved_from:
                    relocation = relocate(source.tracker, catalog, f"{section.tracker} {moved_from}", source.identity)
                    with failure_recorded("backup", catalog):
                        progress.note(await cancel_on_stop(relocation, stop))
                summary = await backup(
                    source.tracker, archive, catalog, settings, progress=progress, stop=stop, place=place
                )
    finally:
        await source.tracker.close()
    for warning in summary.warnings:
        output.warn(warning)
    return summary
