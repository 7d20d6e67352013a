"""`migrator map CONFIG`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from migrator.jobs.given import require_backup
from migrator.jobs.options import config_argument
from migrator.jobs.output import Output
from migrator.pipeline.summary import MapSummary

if TYPE_CHECKING:
    from migrator.config import Configuration


@click.command("map")
@config_argument
@click.option("--dry-run", is_flag=True, help="Show what it would propose, and write nothing.")
@click.pass_obj
def command(output: Output, /, *, config: Path, dry_run: bool) -> MapSummary:
    """Propose the mapping: add a row for each entity of the archive that the rules find at the target.

    The rules are those of [mapping] match, the most trusted first: title, id, title:PATTERN, custom:FIELD and
    custom:FIELD:PATTERN. Each new row has the titles and addresses of both sides; found_by, sure and why say how it was
    found. Review those that are not high: the terminal shows the least sure rows first, and --json all. Existing rows
    stay as they are, byte for byte, and no target entity gets two sources.

    Entities that have files but no row are listed: some on the terminal, all with --json, and all in a file beside the
    mapping (mapping.open.csv for mapping.csv), from which a person can continue; each run rewrites it. Entities that
    are left over don't count as failures: the exit status is 0. Run a backup first.
    """
    from migrator.config import read_configuration
    from migrator.jobs.runtime import cancel_on_stop, run_job

    configuration = read_configuration(config)
    require_backup(configuration, config)
    return run_job(lambda stop: cancel_on_stop(run_map(configuration, output, dry_run=dry_run), stop))


async def run_map(
    configuration: Configuration, output: Output, *, dry_run: bool = False, into: Path | None = None
) -> MapSummary:
    """Log in to the target, hold the archive, propose rows, and write both files unless it is a rehearsal.

    The rows are written `into` another file than the mapping, if that is given.
    """
    from migrator.jobs.place import place_of
    from migrator.jobs.runtime import failure_recorded, held_archive
    from migrator.jobs.wiring import identity, wire_target_listing
    from migrator.mapping import add_rows, parse_rule, read_mapping, replace_file
    from migrator.pipeline.map import MapSettings, open_rows, propose

    target, path = wire_target_listing(configuration), configuration.mapping_file
    for warning in target.warnings:
        output.warn(warning)
    rules = [parse_rule(name) for name in configuration.settings.mapping.match]
    known = read_mapping(path, may_be_missing=True)
    written = into or path
    settings = MapSettings(rules, known, lambda rows: add_rows(written, rows), dry_run=dry_run)
    try:
        with held_archive(place_of(configuration), "map") as (_, catalog):
            catalog.settings.require_no_other_source(identity(configuration.settings.source))
            with failure_recorded("map", catalog):
                output.note(f"target: {await target.tracker.check()}")
            with output.progress("map", waits=target.waits) as progress:
                summary = await propose(target.tracker, catalog, settings, progress=progress)
    finally:
        await target.tracker.close()
    if dry_run:
        return summary
    await asyncio.to_thread(replace_file, configuration.unmatched_file, open_rows(summary))
    return replace(summary, mapping=str(written), open=str(configuration.unmatched_file))
