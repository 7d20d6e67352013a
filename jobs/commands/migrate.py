"""`migrator migrate CONFIG`."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from migrator.errors import ConfigError, StorageError
from migrator.jobs.options import config_argument, paranoid_option
from migrator.jobs.output import Output
from migrator.jobs.terminal import tell
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

    If there is no mapping yet, it is proposed after the backup, as by `map`, shown, and on a terminal you are asked
    before it is used. After "no" nothing is loaded (status 3): the backup is kept, and the proposal stays in a file
    beside the mapping (mapping.proposed.csv for mapping.csv); the next run asks again, unless there is a mapping by
    then. Without a terminal, say --map, or nothing is done (status 2).
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
    into = configuration.proposed_file if asks else None
    if into:
        _fresh(into).unlink(missing_ok=True)
    first = run_job(
        lambda stop: _back_up(configuration, output, stop, paranoid=paranoid, proposes=proposes or asks, into=into)
    )
    if asks and first.map and first.status is not RunStatus.INTERRUPTED:
        first = _ask(configuration, first, first.map)
    if first.declined or first.status is RunStatus.INTERRUPTED:
        return first
    return run_job(lambda stop: _load(configuration, output, stop, first))


def _has_mapping(configuration: Configuration) -> bool:
    return configuration.mapping_file.exists() or configuration.settings.mapping.create_missing


def _ask(configuration: Configuration, first: MigrateSummary, proposed: MapSummary) -> MigrateSummary:
    """Show the mapping that was just proposed, and ask whether to load by it; "yes" makes it the mapping."""
    from migrator.jobs.text import summary_text
    from migrator.jobs.wiring import target_section

    tell(summary_text(proposed).rstrip())
    try:
        agreed = click.confirm(f"Load into {target_section(configuration).url} by this mapping?", err=True)
    except click.Abort:
        return replace(first, asked=True, status=RunStatus.INTERRUPTED)
    if not agreed:
        return replace(first, asked=True, declined=True, status=worst_of(first.status, RunStatus.INCOMPLETE))
    _accept(configuration.proposed_file, configuration.mapping_file)
    return replace(first, asked=True, map=replace(proposed, mapping=str(configuration.mapping_file)))


def _accept(proposed: Path, mapping: Path) -> None:
    """Make the proposal the mapping. It is never put in the place of one that somebody has written meanwhile."""
    if mapping.exists():
        raise ConfigError(f"somebody has written {mapping.name} meanwhile; run the same command again to load by it")
    try:
        if proposed.exists():  # it is not, if no row was found
            proposed.rename(mapping)
    except OSError as error:
        raise StorageError(f"{mapping} can't be written: {error.strerror}") from None


async def _back_up(
    configuration: Configuration,
    output: Output,
    stop: asyncio.Event,
    *,
    paranoid: bool,
    proposes: bool,
    into: Path | None,
) -> MigrateSummary:
    """Look at mapping and target, back up, and propose the mapping, `into` a file of its own or the mapping itself."""
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
    proposed = None
    if proposes:
        proposed = await cancel_on_stop(run_map(configuration, output, into=_fresh(into) if into else None), stop)
    if into and proposed:
        await asyncio.to_thread(_keep, into)
        proposed = replace(proposed, mapping=str(into))
    return MigrateSummary(status=backup.status, backup=backup, map=proposed, load={})


def _fresh(proposal: Path) -> Path:
    """Where a proposal is written before it is compared with an earlier one."""
    return proposal.with_name(f"{proposal.name}.new")


def _keep(proposal: Path) -> None:
    """Take the fresh proposal, unless there is an earlier one in which somebody may have corrected something."""
    fresh = _fresh(proposal)
    written = fresh.read_bytes() if fresh.exists() else b""
    if proposal.exists() and proposal.read_bytes() != written:
        fresh.unlink(missing_ok=True)
        raise ConfigError(
            f"{proposal.name} is not what would be proposed now: save it as the mapping to load by it, or delete it"
        )
    if written:
        fresh.replace(proposal)


async def _load(
    configuration: Configuration, output: Output, stop: asyncio.Event, first: MigrateSummary
) -> MigrateSummary:
    from migrator.jobs.commands.load import run_load

    load = await run_load(configuration, output, stop)
    status = RunStatus.INTERRUPTED if stop.is_set() else worst_of(first.backup.status, load.status)
    return replace(first, status=status, load=load)
