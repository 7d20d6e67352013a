"""`migrator browse ARCHIVE`."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from migrator.jobs.options import archive_argument
from migrator.jobs.output import Output
from migrator.jobs.terminal import say

if TYPE_CHECKING:
    from migrator.jobs.place import Place


@click.command("browse")
@archive_argument
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port on 127.0.0.1; by default any free one.")
@click.pass_obj
def command(output: Output, /, *, archive: Place, port: int) -> int:
    """Serve the archive to a browser on this machine, read only, until it is stopped.

    Search entities and files, look at images and texts, download files, choose an earlier snapshot, see what failed. It
    shows the archive as it was at the start; works while a run is under way.

    It listens on 127.0.0.1 only, but every account on this machine can open it. It needs Datasette:

    \b
    pip install 'tracker-migrator[browse]'
    """
    from migrator.jobs.browse import Browser
    from migrator.jobs.place import ArchivePlace, folder_of, shown
    from migrator.jobs.remote import archive_to_read, refresh
    from migrator.jobs.runtime import run_job

    with TemporaryDirectory(prefix="migrator-browse-") as folder, _listening(port) as server:
        if isinstance(archive, ArchivePlace):
            refresh(archive)
        to_read = archive_to_read(archive)
        to_read.require_readable()
        browser = Browser(folder_of(archive), Path(folder), to_read)

        async def serve(stop: asyncio.Event) -> None:
            _announce(output, shown(archive), f"http://127.0.0.1:{server.getsockname()[1]}/")
            await browser.serve(server, stop)

        run_job(serve)
    return 0


def _listening(port: int) -> socket.socket:
    from migrator.errors import ConfigError

    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise ConfigError(f"port {port} can't be used: {error.strerror}") from None


def _announce(output: Output, archive: str, url: str) -> None:
    document = {"command": "browse", "status": "complete", "archive": archive, "url": url}
    say(f"{json.dumps(document) if output.as_json else url}\n")
    output.note("serving until stopped (Ctrl-C)")
