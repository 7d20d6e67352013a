"""`migrator status ARCHIVE`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from jobs.options import archive_argument
from jobs.output import Output


@click.command("status")
@archive_argument
@click.pass_obj
def command(_: Output, /, *, archive: Path) -> dict[str, Any]:
    """Runs, counts, what is pending, and what failed and why. Reads only; works while a run is under way."""
    from migrator.catalog import Catalog
    from migrator.catalog.store import disk_errors

    catalog = Catalog(archive, read_only=True)
    try:
        with disk_errors(archive):
            return {
                "command": "status",
                "status": "complete",
                "archive": str(archive),
                "source": catalog.setting("source"),
                "totals": catalog.totals(),
                "runs": catalog.runs(),
                "failures": [*catalog.failures(), *catalog.upload_failures()],
            }
    finally:
        catalog.close()
