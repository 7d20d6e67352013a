"""`migrator prune ARCHIVE`."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from migrator.jobs.given import is_file
from migrator.jobs.options import require_yes, yes_option
from migrator.jobs.output import Output
from migrator.jobs.place import place_named
from migrator.jobs.runtime import held_archive, run_job
from migrator.pipeline.summary import PruneSummary
from migrator.units import counted, human_size, parse_duration

if TYPE_CHECKING:
    from migrator.config import Configuration
    from migrator.jobs.place import Place
    from migrator.pipeline.prune import Retention


def span(value: str) -> float:
    """`30 days`, `2 w` or `36 h` in seconds."""
    with suppress(ValueError):
        if seconds := parse_duration(value):
            return seconds
    raise click.BadParameter(f"{value!r} is not a time; write it like '30 days', '2 weeks' or '36 h'")


def _count(period: str) -> str:
    return f"Keep the newest snapshot of each of the last N {period} that have one."


@click.command("prune")
@click.argument("archive", type=click.Path())
@click.option("--keep-last", type=click.IntRange(0), default=0, metavar="N", help="Keep the newest N snapshots.")
@click.option(
    "--keep-within", type=span, metavar="TIME", help="Keep all that are at most this much older than the newest."
)
@click.option("--keep-daily", type=click.IntRange(0), default=0, metavar="N", help=_count("days"))
@click.option("--keep-weekly", type=click.IntRange(0), default=0, metavar="N", help=_count("weeks"))
@click.option("--keep-monthly", type=click.IntRange(0), default=0, metavar="N", help=_count("months"))
@click.option("--keep-yearly", type=click.IntRange(0), default=0, metavar="N", help=_count("years"))
@click.option("--dry-run", is_flag=True, help="Say what would be forgotten and deleted, and change nothing.")
@yes_option
@click.pass_obj
def command(
    output: Output,
    /,
    *,
    archive: str,
    dry_run: bool,
    yes: bool,
    keep_last: int,
    keep_within: float | None,
    **periods: int,
) -> PruneSummary:
    """Forget snapshots of ARCHIVE, and delete the files that nothing needs any more.

    A snapshot stays if any of the rules keeps it; the newest one always stays. Without a rule, those of [retention]
    count, if ARCHIVE is a configuration; if there are none, everything stays. Whatever the source still has stays, and
    so does what a load has sent or has yet to send.

    What goes is gone for good: files that the source deleted, and earlier contents, that only forgotten snapshots held.
    That includes what was deleted at the source before the archive's first snapshot. A restore can put back only what a
    kept snapshot holds, so keep snapshots for as long as it may take until somebody misses a file.

    On a terminal it asks first, showing what would go; "no" changes nothing (exit status 130).
    """
    from migrator.config import read_configuration
    from migrator.pipeline.prune import Retention

    given = {name.removeprefix("keep_"): count for name, count in periods.items()}
    retention = Retention(keep_last, keep_within or 0.0, **given)
    if is_file(Path(archive)) and retention == Retention():
        retention = configured_retention(read_configuration(Path(archive)))
    if retention == Retention():
        output.warn("no rule says what to keep, so every snapshot stays")
    place = place_named(archive)
    if not (dry_run or yes) and sys.stdin.isatty():
        _require_consent(run_job(lambda stop: run_prune(place, retention, output, stop, dry_run=True)))
    return run_job(lambda stop: run_prune(place, retention, output, stop, dry_run=dry_run))


def _require_consent(plan: PruneSummary) -> None:
    """Ask before anything is forgotten or deleted; the plan is that of a dry run."""
    snapshots, blobs = len(plan.snapshots["removed"]), plan.blobs["removed"]
    parts = [f"forget {counted(snapshots, 'snapshot')}"] if snapshots else []
    parts += [f"delete {counted(blobs, 'blob')} ({human_size(plan.bytes)})"] if blobs else []
    if parts:
        question = " and ".join(parts)
        require_yes(f"{question[0].upper()}{question[1:]} for good?", yes=False)


def configured_retention(configuration: Configuration) -> Retention:
    """The rules of [retention]."""
    from migrator.pipeline.prune import Retention

    rules = configuration.settings.retention.model_dump()
    return Retention(**{name.removeprefix("keep_"): value for name, value in rules.items()})


async def run_prune(
    place: Place, retention: Retention, output: Output, stop: asyncio.Event, *, dry_run: bool = False
) -> PruneSummary:
    """Hold the archive, forget by these rules."""
    from migrator.pipeline.prune import prune

    with held_archive(place, "prune") as (archive, catalog), output.progress("prune", noun="blob") as progress:
        return await prune(archive, catalog, retention, dry_run=dry_run, progress=progress, stop=stop)
