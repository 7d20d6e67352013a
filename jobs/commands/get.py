"""`migrator get ARCHIVE [KIND:]ID [NAME]`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from migrator.jobs.options import archive_argument, at_option
from migrator.jobs.output import Output
from migrator.jobs.terminal import say_bytes

if TYPE_CHECKING:
    from migrator.jobs.place import Place
    from migrator.pipeline.summary import FoundFile, GetSummary
    from migrator.store import Archive

STANDARD_OUTPUT = Path("-")


@click.command("get")
@archive_argument
@click.argument("which", metavar="[KIND:]ID")
@click.argument("name", default="")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Write to this file, or into this folder.")
@click.option("--force", is_flag=True, help="Replace the file if there is one already.")
@at_option
@click.pass_obj
def command(
    output: Output, /, *, archive: Place, which: str, name: str, out: Path | None, force: bool, at: str
) -> GetSummary | int:
    """Take one file out of ARCHIVE: to standard output, or with -o to a file, dated like the attachment.

    ID is that of an entity, and NAME the file's name or a part of it; NAME is not needed if there is only one file. An
    attachment id will do in place of either. If several files match, they are listed, and nothing is written (exit
    status 2).

    The content is compared with its hash. With -o a file that is damaged (exit status 5) or was cut off never appears
    under its name. Reads only, also while a run is under way. `migrator find` looks files up.
    """
    from migrator.filenames import readable
    from migrator.jobs.remote import archive_to_read
    from migrator.jobs.runtime import read_archive
    from migrator.pipeline.find import save, the_file
    from migrator.pipeline.summary import GetSummary

    to_file = None if out == STANDARD_OUTPUT else out
    if to_file is None and (output.as_json or force):
        raise click.UsageError(f"{'--json' if output.as_json else '--force'} needs -o FILE")
    with read_archive(archive, at) as catalog:
        file = the_file(catalog, which, name)
    if file.status not in {"stored", "gone"}:
        output.warn(f"{file.name} has changed at the source ({file.status}); this is what the archive held before")
    if to_file is None:
        _write(archive_to_read(archive), file)
        return 0
    return GetSummary(file=file, out=readable(save(archive_to_read(archive), file, to_file, replace=force)))


def _write(archive: Archive, file: FoundFile) -> None:
    """To standard output. A terminal gets only text."""
    from migrator.pipeline.find import content

    if sys.stdout.isatty():
        from migrator.jobs.browse import text_preview

        head = b"".join(content(archive, file))
        if text_preview(head) is None:
            raise click.UsageError(f"{file.name!r} is not text; write it to a file with -o, or pipe it to a program")
    say_bytes(content(archive, file))
