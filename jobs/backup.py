"""`migrator backup CONFIG`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from jobs.options import config_argument, paranoid_option, selection_options
from jobs.output import Output


@click.command("backup")
@config_argument
@selection_options
@paranoid_option
@click.pass_obj
def command(output: Output, /, *, config: Path, selection: Any, paranoid: bool) -> dict[str, Any]:
    """Crawl the source of CONFIG and store every attachment in its archive.

    Run again it resumes where it was stopped or killed; run after a complete backup it fetches only what is new or
    changed. A file that can't be had is listed with its reason (exit status 3) and tried again by the next run; one
    that the tracker no longer has is `gone` and is not.

    What --limit and the filters leave out is counted as skipped, and fetched by a later run without them.
    """
    from jobs.running import run_job
    from migrator.config import read_configuration

    configuration = read_configuration(config)
    return run_job(lambda stop: run_backup(configuration, output, stop, selection, paranoid=paranoid))


async def run_backup(
    configuration: Any, output: Output, stop: asyncio.Event, selection: Any = None, *, paranoid: bool = False
) -> dict[str, Any]:
    """Log in, hold the archive, back up."""
    from jobs.running import held_archive, unless_stopped
    from jobs.wiring import wire_source
    from migrator.pipeline.backup import BackupSettings, backup
    from migrator.selection import EVERYTHING

    source = wire_source(configuration, paranoid=paranoid)
    for warning in source.warnings:
        output.warn(warning)
    section, limits = configuration.settings.source, configuration.settings.limits
    try:
        output.note(f"source: {await unless_stopped(source.tracker.check(), stop)}")
        settings = BackupSettings(
            source.identity,
            section.kinds,
            limits.downloads,
            section.allow_forbidden,
            selection or EVERYTHING,
        )
        with (
            held_archive(configuration.archive, "backup", create=True) as (archive, catalog),
            output.progress("backup") as progress,
        ):
            return await backup(source.tracker, archive, catalog, settings, progress=progress, stop=stop)
    finally:
        await source.tracker.close()
