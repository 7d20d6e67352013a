"""`migrator nightly CONFIG...`."""

from __future__ import annotations

from pathlib import Path

import click

from migrator.jobs.output import Output
from migrator.pipeline.summary import NightlySummary


@click.command("nightly")
@click.argument("configs", metavar="CONFIG...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--parallel",
    type=click.IntRange(1),
    metavar="N",
    help="Work on N configurations at a time; by default on one, or with --on on all.",
)
@click.option(
    "--on", type=click.Choice(["dask"]), help="Do each night on a worker of the cluster that [workers] dask names."
)
@click.pass_obj
def command(output: Output, /, *, configs: tuple[Path, ...], parallel: int | None, on: str | None) -> NightlySummary:
    """Run the whole night for each CONFIG: backup, verify of a sample, prune, report, metrics, message.

    [nightly] says how much is verified and which files are written, [retention] what prune keeps, [notify] who is
    told. One configuration that fails doesn't stop the others. Nothing is pruned after a backup that was not complete,
    or after a verify that found damage.

    With -q, a night in which all was well prints nothing.

    With --on dask the archives are in buckets, and the workers get the texts of the configurations; the secrets come
    from their own environment. If a worker dies, the night is done again on another one.

    The exit status is the worst of all: 130 stopped, 1 a bug, 5 damaged, 7 disk full, 2 configuration, 4 tracker
    unreachable, 6 archive held by another run (yesterday's?), 3 some files failed, 0 all done, in this order.
    """
    from migrator.jobs.nightly import run_nights, spread_nights
    from migrator.jobs.runtime import run_job

    output.given = str(configs[0]) if len(configs) == 1 else None
    if on is not None:
        return run_job(lambda stop: spread_nights([*configs], parallel or len(configs), output, stop))
    return run_job(lambda stop: run_nights([*configs], parallel or 1, output, stop))
