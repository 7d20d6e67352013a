"""`migrator copy ARCHIVE ARCHIVE2`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import click

from migrator.jobs.options import archive_argument
from migrator.jobs.output import Output
from migrator.pipeline.summary import CopySummary

if TYPE_CHECKING:
    from migrator.jobs.place import Place


@click.command("copy")
@archive_argument
@click.argument("archive2", type=click.Path())
@click.pass_obj
def command(output: Output, /, *, archive: Place, archive2: str) -> CopySummary:
    """Copy ARCHIVE to ARCHIVE2: from a disk into a bucket, back, or from one region to another.

    Each is a folder, an address such as s3://bucket/folder, or the configuration that names it. ARCHIVE2 must not exist
    yet, or be an earlier copy of ARCHIVE; then only what is new is copied, and what ARCHIVE has forgotten is deleted.

    Every blob is hashed on its way; a damaged one is named and left out (exit status 5). If the copy was stopped or
    killed, run it again. It is an archive of its own: backups can continue in either of them, but from then on they
    differ.
    """
    from migrator.jobs.place import place_named
    from migrator.jobs.runtime import run_job

    to = place_named(archive2)
    return run_job(lambda stop: _copy(archive, to, output, stop))


async def _copy(place: Place, to: Place, output: Output, stop: asyncio.Event) -> CopySummary:
    from migrator.errors import ConfigError
    from migrator.jobs.place import addresses_of, shown
    from migrator.jobs.runtime import held_archive, held_folder, require_free
    from migrator.pipeline.copy import copy

    pairs = list(product(addresses_of(place), addresses_of(to)))
    if any(one.is_within(other) and other.is_within(one) for one, other in pairs):
        raise ConfigError(f"{shown(to)} is the same archive")
    if any(one.is_within(other) or other.is_within(one) for one, other in pairs):
        raise ConfigError(f"{shown(to)} and {shown(place)} are one inside the other")
    if isinstance(to, Path):
        require_free(to)
    with (
        held_archive(place, "copy", reads=True) as (archive, catalog),
        held_folder(to, "copy", create=True) as target,
        output.progress("copy") as progress,
    ):
        summary = await copy(archive, catalog, target, progress=progress, stop=stop)
    return replace(summary, to=shown(to))
