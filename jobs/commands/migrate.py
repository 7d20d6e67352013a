"""`migrator migrate CONFIG`."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from migrator.errors import ConfigError
from migrator.jobs.options import config_argument, paranoid_option
from migrator.jobs.output import Output
from migrator.model import RunStatus
from migrator.pipeline.summary import MapSummary, MigrateSummary, worst_of

if TYPE_CHECKING:
    from migrator.config import Configuration


@click.command("migrate")
@config_argument
@paranoid_option
@click.option(
    "--map", "proposes", is_flag=True, help="Propose what the mapping lacks after the backup, and load without asking."
)
@click.pass_obj
def command(output: Output, /, *, config: Path, paranoid: bool, proposes: bool) -> MigrateSummary:
    """Back up the source of CONFIG, then load the archive into its target.

    The load reads the target back, entity by entity; what is not there as it was sent is a failure. Mapping and target
    are checked before the backup begins.

    If there is no mapping yet, it is proposed after the backup, as by `map`, and on a terminal you are asked before it
    is used; "no" ends with status 130, and keeps backup and mapping. Without a terminal, say --map, or nothing is done
    (status 2).
    """
    from migrator.config import read_configuration
    from migrator.jobs.runtime import run_job

    configuration = read_configuration(config)
    asks = not proposes and not _has_mapping(configuration)
    if asks and not (sys.stdin.isatty() and sys.stderr.isatty()):
        name = configuration.mapping_file.name
        raise ConfigError(
            f"there is no {name} yet: --map proposes it after the backup; or run backup, map, load in turn"
        )
    first = run_job(lambda stop: _back_up(configuration, output, stop, paranoid=paranoid, proposes=proposes or asks))
    if first.status is RunStatus.INTERRUPTED or (asks and first.map and not _agreed(configuration, first.map, output)):
        return replace(first, status=RunStatus.INTERRUPTED)
    return run_job(lambda stop: _load(configuration, output, stop, first))


def _has_mapping(configuration: Configuration) -> bool:
    return configuration.mapping_file.exists() or configuration.settings.mapping.create_missing


def _agreed(configuration: Configuration, proposed: MapSummary, output: Output) -> bool:
    """Ask whether to load by the mapping that was just proposed."""
    from migrator.jobs.wiring import target_section

    rows, left = proposed.rows.proposed, len(proposed.ambiguous) + len(proposed.unmatched)
    sure = ", ".join(f"{count} {certainty}" for certainty, count in proposed.sure.items()) or "none"
    output.note(f"{proposed.mapping} has {rows} new rows ({sure}); {left} entities with files have no row")
    try:
        return click.confirm(f"Load into {target_section(configuration).url} by this mapping?", err=True)
    except click.Abort:
        return False


async def _back_up(
    configuration: Configuration, output: Output, stop: asyncio.Event, *, paranoid: bool, proposes: bool
) -> MigrateSummary:
    """Look at mapping and target, back up, and propose the mapping; there is no load yet."""
    from migrator.jobs.commands.backup import run_backup
    from migrator.jobs.commands.map import run_map
    from migrator.jobs.place import place_of
    from migrator.jobs.runtime import cancel_on_stop, failure_recorded_in
    from migrator.jobs.wiring import mapping_rows, wire_target

    target = wire_target(configuration)
    try:
        if _has_mapping(configuration):
            mapping_rows(configuration, target.tracker)
        with failure_recorded_in(place_of(configuration), "migrate"):
            await cancel_on_stop(target.tracker.check(), stop)
    finally:
        await target.tracker.close()
    backup = await run_backup(configuration, output, stop, paranoid=paranoid)
    if stop.is_set():
        return MigrateSummary(status=RunStatus.INTERRUPTED, backup=backup, load={})
    proposed = await cancel_on_stop(run_map(configuration, output), stop) if proposes else None
    return MigrateSummary(status=backup.status, backup=backup, map=proposed, load={})


async def _load(
    configuration: Configuration, output: Output, stop: asyncio.Event, first: MigrateSummary
) -> MigrateSummary:
    from migrator.jobs.commands.load import run_load

    load = await run_load(configuration, output, stop)
    status = RunStatus.INTERRUPTED if stop.is_set() else worst_of(first.backup.status, load.status)
    return replace(first, status=status, load=load)
