"""`migrator check CONFIG`."""

from __future__ import annotations

import asyncio
import os
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from migrator.errors import AuthError, ConfigError, MigratorError, TrackerUnreachableError
from migrator.jobs.options import config_argument, entity
from migrator.jobs.output import Output
from migrator.model import EntityRef, RunStatus
from migrator.pipeline.summary import Check, CheckedSide, CheckSummary

if TYPE_CHECKING:
    from migrator.config import Configuration
    from migrator.jobs.place import Place
    from migrator.jobs.recording import Recording
    from migrator.wire import Recorder


@click.command("check")
@config_argument
@click.option(
    "--thorough",
    is_flag=True,
    help="Try what a backup relies on, too: listings, sizes, bytes, refusals. Takes up to two minutes a tracker.",
)
@click.option(
    "--entity",
    "to",
    type=entity,
    metavar="KIND:ID",
    help="With --thorough: send files with odd names to this entity of [target], compare them and delete them again.",
)
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="With --thorough: write what was found, without names, ids and contents, to send it to the developers.",
)
@click.option(
    "--record",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="With --thorough: keep what was sent and answered, without credentials, with other words and contents.",
)
@click.pass_obj
def command(
    output: Output,
    /,
    *,
    config: Path,
    thorough: bool,
    to: EntityRef | None,
    report: Path | None,
    record: Path | None,
) -> CheckSummary:
    """Log in to source and target, read one page, download one small file; write nothing.

    Reports what will work (ok), what will not (FAIL, exit status 3) and what works but is odd (warn). Refused
    credentials or a tracker that doesn't answer end it with status 4.

    With --thorough, it tries whether the tracker is what a backup relies on: listings that are whole and the same when
    they are read again, true sizes, the same bytes twice, and its answers to requests for missing things and to wrong
    credentials (with a made-up account, so that none is locked). At [target], nothing is tried unless --entity names an
    entity there, best a new one that nobody needs: files with odd names, texts and sizes are sent to it, read back,
    compared, and deleted again if the tracker can do that. Each finding says what it means for a backup or a load.

    With --record, a folder is written that you can send to the developers, who play it again. Every word becomes
    another one of its length, unless it is the name of a field or the like; contents become noise; credentials, cookies
    and the tracker's address are left out. Numbers and dates stay, ids among them: look through it before you send it.

    The archive, if there is one yet, has to be one of this tracker. The store of one in a bucket, the addresses of
    [notify] and the folders of the files of [nightly] are looked at too; nothing is sent.
    """
    from migrator.config import read_configuration
    from migrator.jobs.runtime import cancel_on_stop, run_job

    if (to or report or record) and not thorough:
        raise click.UsageError("--entity, --report and --record need --thorough")
    configuration = read_configuration(config)
    if to and configuration.settings.target is None:
        raise click.UsageError("--entity names an entity of [target], and the configuration has none")
    if report and report.exists():
        raise click.UsageError(f"--report: {report} already exists")
    if record and record.exists():
        raise click.UsageError(f"--record: {record} already exists")
    recording = _recording(record)
    try:
        summary = run_job(
            lambda stop: cancel_on_stop(_check(configuration, output, to, recording, thorough=thorough), stop)
        )
    finally:
        if recording:
            recording.write(configuration)
    if report:
        from migrator.jobs.thorough import write_report

        write_report(report, configuration, summary)
    return summary


def _recording(folder: Path | None) -> Recording | None:
    if folder is None:
        return None
    from migrator.jobs.recording import Recording

    return Recording(folder)


async def _check(
    configuration: Configuration, output: Output, to: EntityRef | None, recording: Recording | None, *, thorough: bool
) -> CheckSummary:
    from migrator.jobs.nightly import check_nights

    of_source, of_target = (recording.source, recording.target) if recording else (None, None)
    try:
        source = await _check_source(configuration, output, of_source)
    except (AuthError, TrackerUnreachableError) as error:
        if configuration.settings.target:
            error.add_note(await _login_at_target(configuration, output, of_target))
        raise
    source = replace(source, checks=(*source.checks, *await asyncio.to_thread(_check_archive, configuration)))
    target = await _check_target(configuration, output, of_target) if configuration.settings.target else None
    if thorough:
        from migrator.jobs.thorough import source_checks, target_checks

        source = replace(source, checks=(*source.checks, *await source_checks(configuration, output, of_source)))
        if target and to:
            found = await target_checks(configuration, to, output, of_target)
            target = replace(target, checks=(*target.checks, *found))
    nightly = await asyncio.to_thread(check_nights, configuration)
    checks = [*nightly, *(check for side in (source, target) if side for check in side.checks)]
    status = RunStatus.COMPLETE if all(check.ok for check in checks) else RunStatus.INCOMPLETE
    return CheckSummary(status=status, source=source, target=target or {}, nightly=tuple(nightly) or None)


async def _check_source(configuration: Configuration, output: Output, recorder: Recorder | None) -> CheckedSide:
    from migrator.jobs.wiring import wire_source
    from migrator.pipeline.check import check_source

    section, wired = configuration.settings.source, wire_source(configuration, recorder=recorder)
    certificates = _warn(wired.warnings, output)
    try:
        needs_dates = configuration.settings.nightly.full_every is not None
        return await check_source(wired.tracker, section.tracker, section.kinds, certificates, needs_dates=needs_dates)
    finally:
        await wired.tracker.close()


def _check_archive(configuration: Configuration) -> list[Check]:
    """Whether the archive is one of this tracker, and the store of one in a bucket can be read; nothing is written."""
    from migrator.jobs.place import ArchivePlace, folder_of, place_of
    from migrator.store import is_archive

    place = place_of(configuration)
    if isinstance(place, ArchivePlace) and place.encryption is not None:
        place.encryption.require_recipients()
    try:
        if isinstance(place, Path):
            _require_writable(place)
        checks = _look_at_store(place)
        if is_archive(folder_of(place)):
            checks.append(_look_at_catalog(folder_of(place), configuration))
    except MigratorError as error:
        return [Check("archive", ok=False, detail=str(error))]
    return checks


def _require_writable(root: Path) -> None:
    """`ConfigError` if a backup can't write there, as far as that shows without writing."""
    from migrator.filenames import readable
    from migrator.jobs.runtime import require_free

    require_free(root)
    folders = [root, *(path for path in (root / "blobs", root / "incoming") if path.exists())]
    while not folders[0].exists():
        folders[0] = folders[0].parent
    for folder in folders:
        if not os.access(folder, os.W_OK | os.X_OK):
            raise ConfigError(f"{readable(folder)} can't be written, so a backup can't use {readable(root)}")


def _look_at_store(place: Place) -> list[Check]:
    from migrator.jobs.place import ArchivePlace

    if not isinstance(place, ArchivePlace):
        return []
    if place.address.is_missing_folder:
        return [Check("archive", ok=True, detail=f"{place.address.url} is made by the first backup")]
    place.bucket().look()
    return [
        Check("archive", ok=True, detail=f"{place.address.url} can be read; whether it can be written is not tried")
    ]


def _look_at_catalog(folder: Path, configuration: Configuration) -> Check:
    """As a backup looks at it. For a bucket, this is what the machine knows of it."""
    from migrator.filenames import readable
    from migrator.jobs.wiring import identity
    from migrator.store import Catalog

    with closing(Catalog(folder, read_only=True)) as catalog:
        catalog.settings.require_no_other_source(identity(configuration.settings.source))
    return Check("archive", ok=True, detail=f"{readable(folder)} is the archive of this tracker")


async def _check_target(configuration: Configuration, output: Output, recorder: Recorder | None) -> CheckedSide:
    from migrator.jobs.wiring import target_section, wire_target
    from migrator.pipeline.check import MappingFile, check_target

    section, wired = target_section(configuration), wire_target(configuration, recorder=recorder)
    may_be_missing = configuration.settings.mapping.create_missing
    mapping = MappingFile(configuration.mapping_file, configuration.archive, may_be_missing)
    certificates = _warn(wired.warnings, output)
    try:
        return await check_target(wired.tracker, section.tracker, mapping, certificates)
    finally:
        await wired.tracker.close()


async def _login_at_target(configuration: Configuration, output: Output, recorder: Recorder | None) -> str:
    """Whether the target takes its credentials, for a person who has to correct those of the source."""
    try:
        await _check_target(configuration, output, recorder)
    except MigratorError as error:
        return str(error)
    return "target: the login works"


def _warn(warnings: list[str], output: Output) -> list[str]:
    """Show the warnings, and return those about certificates that nobody verifies: the result says so, too."""
    for warning in warnings:
        output.warn(warning)
    return [warning for warning in warnings if ".tls.verify = false" in warning]
