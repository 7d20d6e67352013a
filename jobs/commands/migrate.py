"""`migrator migrate CONFIG`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from migrator.jobs.options import config_argument, paranoid_option
from migrator.jobs.output import Output
from migrator.model import RunStatus
from migrator.pipeline.summary import MigrateSummary, worst_of

if TYPE_CHECKING:
    from migrator.config import Configuration


@click.command("migrate")
@config_argument
@paranoid_option
@click.pass_obj
def command(output: Output, /, *, config: Path, paranoid: bool) -> MigrateSummary:
    """Back up the source of CONFIG, then load the archive into its target.

    The load reads the target back, entity by entity; what is not there as it was sent is a failure. Mapping and target
    are checked before the backup begins.
    """
    from migrator.config import read_configuration
    from migrator.jobs.runtime import run_job

    configuration = read_configuration(config)
    return run_job(lambda stop: _migrate(configuration, output, stop, paranoid=paranoid))


async def _migrate(
    configuration: Configuration, output: Output, stop: asyncio.Event, *, paranoid: bool
) -> MigrateSummary:
    from migrator.jobs.commands.backup import run_backup
    from migrator.jobs.commands.load import run_load
    from migrator.jobs.place import place_of
    from migrator.jobs.runtime import cancel_on_stop, failure_recorded_in
    from migrator.jobs.wiring import mapping_rows, wire_target

    target = wire_target(configuration)
    try:
        mapping_rows(configuration, target.tracker)
        with failure_recorded_in(place_of(configuration), "migrate"):
            await cancel_on_stop(target.tracker.check(), stop)
    finally:
        await target.tracker.close()
    backup = await run_backup(configuration, output, stop, paranoid=paranoid)
    if stop.is_set():
        return MigrateSummary(status=RunStatus.INTERRUPTED, backup=backup, load={})
    load = await run_load(configuration, output, stop)
    status = RunStatus.INTERRUPTED if stop.is_set() else worst_of(backup.status, load.status)
    return MigrateSummary(status=status, backup=backup, load=load)
