"""`migrator load CONFIG`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from migrator.jobs.given import require_backup
from migrator.jobs.options import at_option, config_argument, require_yes, selection_options, yes_option
from migrator.jobs.output import Output
from migrator.model import RunStatus
from migrator.pipeline.summary import LoadSummary
from migrator.units import counted

if TYPE_CHECKING:
    from migrator.config import Configuration
    from migrator.selection import Selection


def _former_spelling(_context: click.Context, _parameter: click.Parameter, given: str | None) -> str | None:
    if given not in {None, "content"}:
        raise click.UsageError("use --verify-content to compare what was uploaded; it takes no value")
    return given


@click.command("load")
@config_argument
@click.option("--dry-run", is_flag=True, help="Rehearse: look at the target, but send nothing.")
@click.option("--verify-content", is_flag=True, help="Read every uploaded file back and compare its content.")
@click.option("--verify", hidden=True, callback=_former_spelling, help="The same, as earlier versions had it.")
@click.option(
    "--move-changed",
    is_flag=True,
    help="If a row has changed, delete its files at the old entity once they have arrived at the new one.",
)
@click.option("--accept-gone", is_flag=True, help="Send again what is gone from the target, however many files it is.")
@click.option("--strict", is_flag=True, help="Exit with status 3 if files have no row, or rows match nothing.")
@at_option
@yes_option
@selection_options
@click.pass_obj
def command(
    output: Output,
    /,
    *,
    config: Path,
    dry_run: bool,
    verify_content: bool,
    verify: str | None,
    move_changed: bool,
    accept_gone: bool,
    strict: bool,
    at: str,
    yes: bool,
    selection: Selection,
) -> LoadSummary:
    """Replay the archive of CONFIG into its target, by its mapping file.

    Run again, it resumes and uploads nothing twice: what was in flight when a run was killed is looked up at the target
    before anything is sent. Files of entities without a row in the mapping are counted and listed, and so are rows that
    match nothing in the archive; if no row matches anything, nothing is done (exit status 2). Files that the archive
    lacks, because the backup failed to fetch them or did not end, are named (exit status 3).

    A row that was added to the mapping is loaded. If a row was changed, its files go to the new entity, and those at
    the old one are listed; --move-changed deletes them there as rollback would, once the load is done; on a terminal
    it asks first. With [mapping] create_missing, entities without a row get a stub at the target, and a row.

    Afterwards the target is read back: names and sizes always, contents with --verify-content. That covers the files of
    this run, or, if there was nothing to do, all files recorded as being there. A file that differs has failed (exit
    status 3). A name or a text that the target altered is reported, but doesn't count as a failure.

    What earlier loads sent is looked for, too. A file that is gone has failed, and the next load sends it again. If
    more than a fifth is gone, the account may just no longer see them: nothing is sent again without --accept-gone.

    With --at, what the source held in that snapshot is loaded; a file that was loaded already is not sent again. What
    --limit and the filters leave out is counted as skipped, stays planned, and is loaded by a later run without them.
    """
    from migrator.config import read_configuration
    from migrator.jobs.runtime import run_job

    verify_content = verify_content or verify is not None
    if dry_run and verify_content:
        raise click.UsageError("--dry-run and --verify-content can't be used together: a rehearsal uploads nothing")
    configuration = read_configuration(config)
    require_backup(configuration, config)
    summary = run_job(
        lambda stop: run_load(
            configuration,
            output,
            stop,
            dry_run=dry_run,
            verify_content=verify_content,
            selection=selection,
            accept_gone=accept_gone,
            strict=strict,
            at=at,
        )
    )
    if not move_changed:
        return summary
    return _without_former(configuration, summary, output, dry_run=dry_run, yes=yes, accept_gone=accept_gone)


def _without_former(
    configuration: Configuration, summary: LoadSummary, output: Output, *, dry_run: bool, yes: bool, accept_gone: bool
) -> LoadSummary:
    """Delete the files at entities to which the mapping no longer sends them, if a person agrees."""
    from migrator.jobs.runtime import run_job

    if not summary.changed or summary.status is RunStatus.INTERRUPTED:
        return summary
    if not dry_run and not _may_delete(configuration, summary, yes=yes):
        return summary
    return run_job(
        lambda stop: _delete_at_former(configuration, summary, output, stop, dry_run=dry_run, accept_gone=accept_gone)
    )


def _may_delete(configuration: Configuration, summary: LoadSummary, *, yes: bool) -> bool:
    """Ask whether files at former entities may be deleted; "no" keeps the result of the load."""
    from migrator.jobs.wiring import target_section
    from migrator.pipeline.load import deletable

    count, url = len(deletable(summary.changed or ())), target_section(configuration).url
    try:
        if count:
            require_yes(f"Delete {counted(count, 'file')} at former entities of {url}?", yes=yes)
    except click.Abort:
        return False
    return True


async def run_load(
    configuration: Configuration,
    output: Output,
    stop: asyncio.Event,
    *,
    dry_run: bool = False,
    verify_content: bool = False,
    selection: Selection | None = None,
    accept_gone: bool = False,
    strict: bool = False,
    at: str = "",
) -> LoadSummary:
    """Read the mapping, lock the archive, log in, load, and warn of what was left out."""
    from migrator.jobs.place import place_of
    from migrator.jobs.runtime import cancel_on_stop, failure_recorded, held_archive
    from migrator.jobs.wiring import adapter_of, identity, mapping_rows, target_section, wire_target
    from migrator.mapping import add_rows
    from migrator.pipeline.load import LoadSettings, load
    from migrator.pipeline.snapshots import view_at
    from migrator.selection import EVERYTHING

    target = wire_target(configuration, dry_run=dry_run)
    for warning in target.warnings:
        output.warn(warning)
    rows = mapping_rows(configuration, target.tracker)
    settings = LoadSettings(
        target.identity,
        rows.mapping,
        configuration.settings.limits.uploads,
        provenance=target_section(configuration).provenance,
        dry_run=dry_run,
        verify_content=verify_content,
        selection=selection or EVERYTHING,
        create_missing=configuration.settings.mapping.create_missing,
        add_rows=lambda fresh: add_rows(configuration.mapping_file, fresh),
        rows=rows,
        source_kinds=adapter_of(configuration.settings.source, "source").capabilities.kinds,
        strict=strict,
        accept_gone=accept_gone,
    )
    if settings.create_missing and not settings.creates:
        output.warn("with --limit or a filter no entities are created at the target")
    try:
        with held_archive(place_of(configuration), settings.run_name) as (archive, catalog):
            catalog.settings.require_no_other_source(identity(configuration.settings.source))
            view_at(catalog, at)
            with failure_recorded(settings.run_name, catalog):
                output.note(f"target: {await cancel_on_stop(target.tracker.check(), stop)}")
            with output.progress("load", done="checked" if dry_run else "loaded", waits=target.waits) as progress:
                summary = await load(target.tracker, archive, catalog, settings, progress=progress, stop=stop)
    finally:
        await target.tracker.close()
    _tell_what_is_left_out(output, summary, configuration.mapping_file.name, creates=settings.creates)
    return summary


def _tell_what_is_left_out(output: Output, summary: LoadSummary, mapping: str, *, creates: bool) -> None:
    """Warn of what the archive lacks, of files without a row, and of rows without files.

    `creates`: missing entities are created.
    """
    if lacking := summary.not_in_archive:
        from migrator.jobs.lists import lacking_text

        output.warn(f"the archive lacks {lacking_text(lacking)}")
    if creates and summary.dry_run and (count := (summary.stubs or {}).get("would_create")):
        entities = counted(count, "entity", "entities")
        output.note(f"{entities} would be created first; their files are not rehearsed and count as unmapped")
    elif unmapped := summary.uploads.unmapped:
        output.warn(f"{counted(unmapped, 'file belongs', 'files belong')} to entities without a row in {mapping}")
    if unmatched := len(summary.unmatched_rows or ()):
        output.warn(
            f"{counted(unmatched, f'row of {mapping} names', f'rows of {mapping} name')} nothing in the archive"
        )
    for warning in summary.warnings or ():
        output.warn(warning)


async def _delete_at_former(
    configuration: Configuration,
    summary: LoadSummary,
    output: Output,
    stop: asyncio.Event,
    *,
    dry_run: bool,
    accept_gone: bool,
) -> LoadSummary:
    """Delete files at former entities that have arrived at the new ones; `moved` in the summary counts them."""
    from migrator.jobs.place import place_of
    from migrator.jobs.runtime import cancel_on_stop, failure_recorded, held_archive
    from migrator.jobs.wiring import wire_target
    from migrator.pipeline.load import deletable
    from migrator.pipeline.rollback import RollbackSettings, rollback

    target = wire_target(configuration, dry_run=dry_run)
    uploads, only = configuration.settings.limits.uploads, deletable(summary.changed or ())
    settings = RollbackSettings(target.identity, None, uploads, dry_run=dry_run, only=only, accept_gone=accept_gone)
    try:
        with held_archive(place_of(configuration), "load") as (_, catalog):
            with failure_recorded("load", catalog):
                await cancel_on_stop(target.tracker.check(), stop)
            with output.progress("move", done="deleted", waits=target.waits) as progress:
                deleted = await rollback(target.tracker, catalog, settings, progress=progress, stop=stop)
    finally:
        await target.tracker.close()
    return summary.with_moved(deleted)
