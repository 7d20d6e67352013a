"""`migrator restore CONFIG`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from migrator.jobs.given import require_backup
from migrator.jobs.options import config_argument, entity_option
from migrator.jobs.output import Output
from migrator.model import EntityRef
from migrator.pipeline.summary import RestoreSummary

if TYPE_CHECKING:
    from migrator.config import Configuration


@click.command("restore")
@config_argument
@click.option(
    "--at",
    default="",
    metavar="RUN|DATE",
    help="What this snapshot holds, or the last one at that date; otherwise, what any snapshot holds.",
)
@entity_option
@click.option("--dry-run", is_flag=True, help="Rehearse: look at the source, but send nothing.")
@click.pass_obj
def command(
    output: Output, /, *, config: Path, at: str, entities: tuple[EntityRef, ...], dry_run: bool
) -> RestoreSummary:
    """Put files that the source of CONFIG lost back onto their own entities.

    A file is lost if a snapshot of the archive holds it and the last backup found it gone, so run a backup first (with
    --accept-gone, if it reports that too many files are gone). Each file gets its last name and content or, with --at,
    those of that snapshot. What was renamed, moved or replaced at the source is not lost, and stays as it is. If the
    entity itself is gone, its files are listed with that reason (exit status 3).

    Run again, it uploads nothing twice; a file that somebody has put back by hand is already there. The tracker gives a
    restored file a new id: the next backup lists it as added, and `diff` between a snapshot from before the loss and
    one from after the restore shows no change. If it is deleted again, it can be restored again. `rollback` does not
    touch restored files.

    It works with the account and the options of [source], or, if [target] is the same tracker at the same address, with
    those of [target].
    """
    from migrator.config import read_configuration
    from migrator.jobs.runtime import run_job

    configuration = read_configuration(config)
    require_backup(configuration, config)
    return run_job(lambda stop: run_restore(configuration, output, stop, entities, at=at, dry_run=dry_run))


async def run_restore(
    configuration: Configuration,
    output: Output,
    stop: asyncio.Event,
    entities: tuple[EntityRef, ...] = (),
    *,
    at: str = "",
    dry_run: bool = False,
) -> RestoreSummary:
    """Log in, hold the archive, restore."""
    from migrator.jobs.place import place_of
    from migrator.jobs.runtime import cancel_on_stop, failure_recorded, held_archive
    from migrator.jobs.wiring import adapter_of, own_target, wire_restore
    from migrator.pipeline.restore import RestoreSettings, restore
    from migrator.pipeline.run import DRY_RUN
    from migrator.pipeline.snapshots import snapshot_at
    from migrator.selection import Selection, require_known_kinds

    known = adapter_of(configuration.settings.source, "source").capabilities.kinds
    require_known_kinds([ref.kind for ref in entities if ref.kind], known, "--entity")
    source, target = wire_restore(configuration, dry_run=dry_run), own_target(configuration)
    for warning in source.warnings:
        output.warn(warning)
    try:
        name = f"restore{DRY_RUN}" if dry_run else "restore"
        with held_archive(place_of(configuration), name) as (archive, catalog):
            settings = RestoreSettings(
                source.identity,
                snapshot_at(catalog, at) if at else None,
                configuration.settings.limits.uploads,
                provenance=target.provenance if target else True,
                dry_run=dry_run,
                selection=Selection(entities=frozenset(entities)),
            )
            catalog.settings.require_source(source.identity)
            if not catalog.snapshots.all():
                output.warn("this archive has no snapshot yet; a complete backup makes one")
            with failure_recorded(name, catalog):
                output.note(f"source: {await cancel_on_stop(source.tracker.check(), stop)}")
            with output.progress("restore", done="checked" if dry_run else "put back", waits=source.waits) as progress:
                summary = await restore(source.tracker, archive, catalog, settings, progress=progress, stop=stop)
    finally:
        await source.tracker.close()
    if not summary.uploads.planned:
        output.note(
            "the last backup found nothing gone that a snapshot holds; if it was deleted since then, run a backup first"
        )
    for warning in summary.warnings or ():
        output.warn(warning)
    return summary
