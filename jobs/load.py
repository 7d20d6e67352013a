"""`migrator load CONFIG`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from jobs.options import config_argument, selection_options
from jobs.output import Output


@click.command("load")
@config_argument
@click.option("--dry-run", is_flag=True, help="Rehearse: look at the target, send nothing.")
@click.option("--verify", type=click.Choice(["content"]), help="Read every uploaded file back and compare its content.")
@click.option(
    "--move-changed",
    is_flag=True,
    help="Delete what went to an entity that its changed row names no more, once it has arrived at the new one.",
)
@selection_options
@click.pass_obj
def command(
    output: Output, /, *, config: Path, dry_run: bool, verify: str | None, move_changed: bool, selection: Any
) -> dict[str, Any]:
    """Replay the archive of CONFIG into its target, by its mapping file.

    Run again it resumes and uploads nothing twice: what was in flight when a run was killed is looked up at the
    target before anything is sent. Files of entities without a row in the mapping are counted as unmapped.

    A row added to the mapping since is loaded. Where a row was changed, its files go to the new entity, and what went
    to the old one is listed; with --move-changed it is deleted there as rollback deletes: only what a load sent and
    nobody changed. With [mapping] create_missing, entities without a row get a stub at the target and a row.

    Afterwards the target is read back: by name and size always, by content with --verify content. That covers what
    this run settled; if there was nothing to do, all files that are recorded as being there. One that differs has
    failed (exit status 3).

    What --limit and the filters leave out is counted as skipped, stays planned, and goes with a later run without them.
    """
    from jobs.running import run_job
    from migrator.config import read_configuration

    if dry_run and verify:
        raise click.UsageError("--dry-run and --verify exclude each other: a rehearsal uploads nothing")
    configuration = read_configuration(config)
    content = verify == "content"
    return run_job(
        lambda stop: run_load(
            configuration,
            output,
            stop,
            dry_run=dry_run,
            verify_content=content,
            move=move_changed,
            selection=selection,
        )
    )


async def run_load(
    configuration: Any,
    output: Output,
    stop: asyncio.Event,
    *,
    dry_run: bool = False,
    verify_content: bool = False,
    move: bool = False,
    selection: Any = None,
) -> dict[str, Any]:
    """Read the mapping, log in, hold the archive, load; `move` deletes at former entities afterwards."""
    from jobs.running import held_archive, unless_stopped
    from jobs.wiring import target_section, wire_target
    from migrator.mapping import add_rows, read_mapping
    from migrator.pipeline.load import load
    from migrator.pipeline.settle import LoadSettings
    from migrator.selection import EVERYTHING

    target = wire_target(configuration, dry_run=dry_run)
    for warning in target.warnings:
        output.warn(warning)
    limits, create = configuration.settings.limits, configuration.settings.mapping.create_missing
    selection = selection or EVERYTHING
    if create and selection.partial:
        create = False
        output.note("warning: with --limit or a filter no entities are created at the target")
    settings = LoadSettings(
        target.identity,
        read_mapping(configuration.mapping_file, may_lack=configuration.settings.mapping.create_missing),
        limits.uploads,
        provenance=target_section(configuration).provenance,
        dry_run=dry_run,
        verify_content=verify_content,
        selection=selection,
        create_missing=create,
        add_rows=lambda rows: add_rows(configuration.mapping_file, rows),
    )
    try:
        with held_archive(configuration.archive, "load") as (archive, catalog):
            output.note(f"target: {await unless_stopped(target.tracker.check(), stop)}")
            with output.progress("load") as progress:
                summary = await load(target.tracker, archive, catalog, settings, progress=progress, stop=stop)
            if move and summary.get("changed") and not stop.is_set():
                summary = await _moved(target.tracker, catalog, settings, summary, output, stop)
    finally:
        await target.tracker.close()
    if create and dry_run and (would := summary["stubs"]["would_create"]):
        output.note(f"{would} entities would be created first; their files are not rehearsed and count as unmapped")
    elif unmapped := summary["uploads"]["unmapped"]:
        output.note(f"warning: {unmapped} files belong to entities without a row in {configuration.mapping_file.name}")
    return summary


async def _moved(
    target: Any, catalog: Any, settings: Any, summary: dict[str, Any], output: Output, stop: asyncio.Event
) -> dict[str, Any]:
    """Roll back what is at former entities and has arrived at the new ones; `moved` in the summary counts it."""
    from migrator.pipeline.moved import to_delete
    from migrator.pipeline.rollback import RollbackSettings, rollback

    only = to_delete(summary["changed"])
    undo = RollbackSettings(settings.identity, None, settings.uploads, dry_run=settings.dry_run, only=only)
    with output.progress("move") as progress:
        done = await rollback(target, catalog, undo, progress=progress, stop=stop)
    worst = min((summary["status"], done["status"]), key=("interrupted", "incomplete", "complete").index)
    failures = [*summary["failures"], *done["failures"]]
    return {**summary, "status": worst, "moved": done["deletions"], "failures": failures}
