"""`migrator check CONFIG`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from migrator.jobs.options import config_argument
from migrator.jobs.output import Output
from migrator.model import RunStatus
from migrator.pipeline.summary import Check, CheckedSide, CheckSummary

if TYPE_CHECKING:
    from migrator.config import Configuration


@click.command("check")
@config_argument
@click.pass_obj
def command(output: Output, /, *, config: Path) -> CheckSummary:
    """Log in to source and target, read one page, download one small file; write nothing.

    Reports what will work (ok), what will not (FAIL, exit status 3) and what works but is odd (warn). Refused
    credentials or a tracker that doesn't answer end it with status 4.

    The store of an archive in a bucket, the addresses of [notify] and the folders of the files of [nightly] are looked
    at too; nothing is sent.
    """
    from migrator.config import read_configuration
    from migrator.jobs.runtime import cancel_on_stop, run_job

    configuration = read_configuration(config)
    return run_job(lambda stop: cancel_on_stop(_check(configuration, output), stop))


async def _check(configuration: Configuration, output: Output) -> CheckSummary:
    from migrator.jobs.nightly import check_nights

    source = await _check_source(configuration, output)
    source = replace(source, checks=(*source.checks, *await asyncio.to_thread(_check_store, configuration)))
    target = await _check_target(configuration, output) if configuration.settings.target else None
    nightly = await asyncio.to_thread(check_nights, configuration)
    checks = [*nightly, *(check for side in (source, target) if side for check in side.checks)]
    status = RunStatus.COMPLETE if all(check.ok for check in checks) else RunStatus.INCOMPLETE
    return CheckSummary(status=status, source=source, target=target or {}, nightly=tuple(nightly) or None)


async def _check_source(configuration: Configuration, output: Output) -> CheckedSide:
    from migrator.jobs.wiring import wire_source
    from migrator.pipeline.check import check_source

    section, wired = configuration.settings.source, wire_source(configuration)
    certificates = _warn(wired.warnings, output)
    try:
        needs_dates = configuration.settings.nightly.full_every is not None
        return await check_source(wired.tracker, section.tracker, section.kinds, certificates, needs_dates=needs_dates)
    finally:
        await wired.tracker.close()


def _check_store(configuration: Configuration) -> list[Check]:
    """Whether the store of an archive in a bucket can be reached and read; nothing is written."""
    from migrator.errors import StorageError
    from migrator.jobs.place import ArchivePlace, place_of

    place = place_of(configuration)
    if not isinstance(place, ArchivePlace):
        return []
    try:
        place.bucket().look()
    except StorageError as error:
        return [Check("archive", ok=False, detail=str(error))]
    return [
        Check("archive", ok=True, detail=f"{place.address.url} can be read; whether it can be written is not tried")
    ]


async def _check_target(configuration: Configuration, output: Output) -> CheckedSide:
    from migrator.jobs.wiring import target_section, wire_target
    from migrator.pipeline.check import MappingFile, check_target

    section, wired = target_section(configuration), wire_target(configuration)
    may_be_missing = configuration.settings.mapping.create_missing
    mapping = MappingFile(configuration.mapping_file, configuration.archive, may_be_missing)
    certificates = _warn(wired.warnings, output)
    try:
        return await check_target(wired.tracker, section.tracker, mapping, certificates)
    finally:
        await wired.tracker.close()


def _warn(warnings: list[str], output: Output) -> list[str]:
    """Show the warnings, and return those about certificates that nobody verifies: the result says so, too."""
    for warning in warnings:
        output.warn(warning)
    return [warning for warning in warnings if ".tls.verify = false" in warning]
