"""`migrator sandbox TRACKER`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from migrator.jobs.options import place_of
from migrator.jobs.output import Output
from migrator.trackers import TRACKERS

if TYPE_CHECKING:
    from migrator.jobs.place import Place
    from migrator.sandbox import World


@click.command("sandbox")
@click.argument("tracker", type=click.Choice(sorted(TRACKERS)))
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port on 127.0.0.1; by default any free one.")
@click.option(
    "--entities", type=click.IntRange(1, 1_000_000), default=300, show_default=True, help="Number of made-up entities."
)
@click.option(
    "--like",
    metavar="ARCHIVE",
    callback=place_of,
    help="As many entities and files as in this archive, with their sizes and odd names, in other words.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed makes the same tracker.")
@click.option("--empty", is_flag=True, help="Make entities without attachments: a target to load into.")
@click.option(
    "--write",
    "config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write it into this configuration: a new one, or one that lacks the section.",
)
@click.pass_obj
def command(
    output: Output,
    /,
    *,
    tracker: str,
    port: int,
    entities: int,
    like: Place | None,
    seed: int,
    empty: bool,
    config: Path | None,
) -> int:
    """Serve an embedded TRACKER on the loopback interface, with made-up entities and attachments.

    Prints the section of a configuration for it, with credentials and the options that a load needs: [source], or
    [target] with --empty. --write FILE
    writes it into a configuration. Serves until it is stopped. All trackers with the same seed hold the same entities
    under the same ids, so one can be migrated into another (start that one with --empty).

    --like ARCHIVE, in place of --entities, imitates your own tracker, from a backup of it: which entity has which
    files, their sizes, which are equal, and what is odd about their names. Words, ids, people, dates and bytes are made
    up.
    """
    from migrator.jobs.runtime import run_job

    world = _world(entities, seed, like)

    async def serve(stop: asyncio.Event) -> None:
        await _serve(output, stop, tracker, port, world.without_attachments() if empty else world, config, empty=empty)

    run_job(serve)
    return 0


def _world(entities: int, seed: int, like: Place | None) -> World:
    if like is not None:
        from migrator.jobs.likeness import world_of

        return world_of(like, seed)
    from migrator.sandbox import World

    return World.generate(entities=entities, seed=seed)


async def _serve(
    output: Output,
    stop: asyncio.Event,
    tracker: str,
    port: int,
    world: World,
    config: Path | None,
    *,
    empty: bool,
) -> None:
    from migrator.errors import ConfigError
    from migrator.jobs.starting import add_section, section
    from migrator.sandbox import SANDBOXES

    sandbox = SANDBOXES[tracker](world)
    try:
        await sandbox.start(port)
    except OSError as error:
        raise ConfigError(f"port {port} can't be used: {error.strerror}") from None
    where = "target" if empty else "source"
    options = sandbox.target_options if empty else {}
    written = section(where, tracker, sandbox.url, sandbox.credentials, options)
    try:
        if config:
            add_section(config, where, written)
        if output.as_json:
            document: dict[str, object] = {
                "command": "sandbox",
                "status": "complete",
                "tracker": tracker,
                "url": sandbox.url,
            }
            click.echo(
                json.dumps({**document, "auth": sandbox.credentials, **({"options": options} if options else {})})
            )
        else:
            click.echo(f"written: {config}" if config else written, nl=bool(config))
            output.note("serving until stopped (Ctrl-C)")
        await stop.wait()
    finally:
        await sandbox.stop()
