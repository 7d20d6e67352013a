"""`migrator rebuild ARCHIVE`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from migrator.jobs.options import archive_argument
from migrator.jobs.output import Output
from migrator.pipeline.summary import RebuildSummary

if TYPE_CHECKING:
    from migrator.jobs.place import Place


@click.command("rebuild")
@archive_argument
@click.pass_obj
def command(_: Output, /, *, archive: Place) -> RebuildSummary:
    """Rebuild the catalog of ARCHIVE if it is lost, damaged or differs from its manifest.

    A damaged catalog is kept as catalog.db.damaged-N. The next backup fetches missing files again. Apart from them, a
    backup downloads nothing, and a load uploads nothing, that was recorded before. A sound catalog stays, and a
    manifest that is lost or damaged is rewritten from it. If it was killed, run it again.
    """
    from migrator.jobs.runtime import held_folder
    from migrator.pipeline.rebuild import rebuild
    from migrator.store import sqlite_errors

    with held_folder(archive, "rebuild", ours=False) as held, sqlite_errors(held.root):
        return rebuild(held)
