"""`migrator rollback CONFIG`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from migrator.jobs.given import require_backup
from migrator.jobs.options import config_argument, require_yes, yes_option
from migrator.jobs.output import Output
from migrator.pipeline.summary import RollbackSummary
from migrator.units import counted

if TYPE_CHECKING:
    from migrator.config import Configuration


@click.command("rollback")
@config_argument
@click.option("--run", "load", type=click.IntRange(1), help="Undo this load only; `migrator status` lists the runs.")
@click.option("--dry-run", is_flag=True, help="Look at the target and report what would be deleted; delete nothing.")
@click.option("--accept-gone", is_flag=True, help="Take as deleted what is not found, however many files it is.")
@yes_option
@click.pass_obj
def command(
    output: Output, /, *, config: Path, load: int | None, dry_run: bool, accept_gone: bool, yes: bool
) -> RollbackSummary:
    """Delete from the target of CONFIG exactly what a load, or all loads, put there.

    A file is deleted by its id, and only if it is still the one that was sent: its name, size and content are compared
    first. What was there before a load, or has changed since, stays and is listed (exit status 3). Run again, it
    continues where it was stopped or killed; a later load uploads again what was rolled back. If more than a fifth of
    the files is not found, the account may just no longer see them: they stay (exit status 3) without --accept-gone.

    On a terminal it asks first, showing the number of files and the address; "no" deletes nothing (exit status 130).
    """
    from migrator.config import read_configuration
    from migrator.jobs.runtime import run_job

    configuration = read_configuration(config)
    require_backup(configuration, config)
    if not dry_run and not yes:
        _require_consent(configuration, load)
    return run_job(
        lambda stop: run_rollback(configuration, output, stop, load, dry_run=dry_run, accept_gone=accept_gone)
    )


def _require_consent(configuration: Configuration, load: int | None) -> None:
    """Ask before anything is deleted, with the number of files; the target is not read for that."""
    from migrator.jobs.place import place_of
    from migrator.jobs.runtime import held_archive
    from migrator.jobs.wiring import identity, target_section

    section = target_section(configuration)
    with held_archive(place_of(configuration), "rollback") as (_, catalog):
        count = sum(catalog.uploads.entities_to_roll_back(identity(section), load).values())
    if count:
        require_yes(f"Delete {counted(count, 'file')} from {section.url}?", yes=False)


async def run_rollback(
    configuration: Configuration,
    output: Output,
    stop: asyncio.Event,
    load: int | None = None,
    *,
    dry_run: bool = False,
    accept_gone: bool = False,
) -> RollbackSummary:
    """Log in, lock the archive, roll back one load, or all into this target."""
    from migrator.jobs.place import place_of
    from migrator.jobs.runtime import cancel_on_stop, failure_recorded, held_archive
    from migrator.jobs.wiring import wire_target
    from migrator.pipeline.rollback import NO_DELETE, RollbackSettings, rollback
    from migrator.pipeline.run import DRY_RUN

    target = wire_target(configuration, dry_run=dry_run)
    for warning in target.warnings:
        output.warn(warning)
    uploads = configuration.settings.limits.uploads
    settings = RollbackSettings(target.identity, load, uploads, dry_run=dry_run, accept_gone=accept_gone)
    try:
        with held_archive(place_of(configuration), "rollback") as (_, catalog):
            with failure_recorded(f"rollback{DRY_RUN}" if dry_run else "rollback", catalog):
                output.note(f"target: {await cancel_on_stop(target.tracker.check(), stop)}")
            if not target.tracker.capabilities.deletes:
                output.note(f"warning: {NO_DELETE}; what a load put there is listed")
            with output.progress("rollback", done="checked" if dry_run else "deleted", waits=target.waits) as progress:
                return await rollback(target.tracker, catalog, settings, progress=progress, stop=stop)
    finally:
        await target.tracker.close()
