"""`migrator verify ARCHIVE`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from jobs.options import archive_argument
from jobs.output import Output


@click.command("verify")
@archive_argument
@click.pass_obj
def command(output: Output, /, *, archive: Path) -> dict[str, Any]:
    """Hash every blob of ARCHIVE again and hold the catalog against the disk.

    Each problem has a code: E01 damaged, E02 missing, E03 unknown (a file that the catalog doesn't know). The next
    backup fetches what is damaged or missing again, where the source still has it.
    """
    from jobs.running import run_job

    return run_job(lambda stop: _verify(archive, output, stop))


async def _verify(root: Path, output: Output, stop: asyncio.Event) -> dict[str, Any]:
    from jobs.running import held_archive
    from migrator.pipeline.verify import verify

    with held_archive(root, "verify", reads=True) as (archive, catalog), output.progress("verify") as progress:
        return await verify(archive, catalog, progress=progress, stop=stop)
