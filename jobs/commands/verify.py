"""`migrator verify ARCHIVE`."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from migrator.jobs.options import archive_argument, share
from migrator.jobs.output import Output
from migrator.pipeline.summary import VerifySummary
from migrator.units import parse_duration

if TYPE_CHECKING:
    from migrator.jobs.place import Place
    from migrator.pipeline.verify import Portion


def span(value: str) -> float:
    """`90s`, `10m` or `2h` in seconds, more than none."""
    with suppress(ValueError):
        if seconds := parse_duration(value):
            return seconds
    raise click.BadParameter(f"{value!r} is not a time; write it like 90s, 10m or 2h")


@click.command("verify")
@archive_argument
@click.option("--sample", type=share, metavar="PERCENT", help="Check only this share of the blobs, e.g. 5%; see above.")
@click.option("--max-time", type=span, metavar="TIME", help="Stop after this time, e.g. 90s, 10m or 2h; see above.")
@click.option("--full", is_flag=True, help="For an encrypted archive, also decrypt and hash the blobs.")
@click.pass_obj
def command(
    output: Output, /, *, archive: Place, sample: float | None, max_time: float | None, full: bool
) -> VerifySummary:
    """Hash every blob of ARCHIVE again, and compare the catalog with the disk and with its manifest.

    Each problem has a code. Files: E01 damaged, E02 missing, E03 unknown, E04 wrong length, E05 content of another
    file, E06 not a regular file; the next backup fetches them again, if the source still has them. Catalog: E10
    missing, E11 unreadable, E12 a row differs, E13 a row is missing, E14 a row is unknown; `migrator rebuild` repairs
    it. Manifest: E21 damaged, E22 missing, E23 cut off; the next backup, load or rebuild rewrites it.

    With --sample or --max-time it checks a part of the blobs and continues where the last partial verify stopped, so
    that several of them get through all blobs. Catalog and manifest are always checked.

    For an encrypted archive, names and sizes of the blobs are checked, which needs no private key; with --full they are
    decrypted and hashed.
    """
    from migrator.jobs.runtime import run_job
    from migrator.pipeline.verify import Portion

    return run_job(lambda stop: run_verify(archive, Portion(sample, max_time), output, stop, full=full))


async def run_verify(
    place: Place, portion: Portion, output: Output, stop: asyncio.Event, *, full: bool = False
) -> VerifySummary:
    """Hold the archive, check all of it or a part."""
    from migrator.jobs.runtime import held_folder
    from migrator.pipeline.verify import verify
    from migrator.store import sqlite_errors

    with (
        held_folder(place, "verify", reads=True) as archive,
        sqlite_errors(archive.root),
        output.progress("verify", noun="blob") as progress,
    ):
        return await verify(archive, portion=portion, full=full, progress=progress, stop=stop)
