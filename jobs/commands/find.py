"""`migrator find ARCHIVE TEXT...`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from migrator.jobs.options import archive_argument, at_option
from migrator.jobs.output import Output
from migrator.pipeline.summary import FindSummary

if TYPE_CHECKING:
    from migrator.jobs.place import Place


@click.command("find")
@archive_argument
@click.argument("texts", metavar="TEXT...", nargs=-1, required=True)
@at_option
@click.pass_obj
def command(_: Output, /, *, archive: Place, texts: tuple[str, ...], at: str) -> FindSummary:
    """Look files up by a part of their name, description or title of their entity, or by an id.

    Case and accents don't matter, and * and ? stand for any characters. If there are several TEXTs, all must occur;
    quote one that has spaces. An id, of an entity (also KIND:ID) or an attachment, has to be given as a whole.

    Each line begins with what `migrator get ARCHIVE` takes: the entity and the id of the attachment.

    Reads only, also while a run is under way.
    """
    from migrator.jobs.runtime import read_archive
    from migrator.pipeline.find import find

    with read_archive(archive, at) as catalog:
        return replace(find(catalog, texts), at=at)
