"""Datasette with our plugin, and the server that it runs in.

The plugin exists only in this process. Plugins that happen to be installed are taken out: they may do anything.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from typing_extensions import override

from migrator.errors import ArchiveDamagedError, ConfigError, StorageError
from migrator.jobs.browse.answers import FileAnswer, error_page
from migrator.jobs.browse.guard import HEAD_ONLY, Send, guarded
from migrator.jobs.browse.pages import Answer, Pages, Parameters, web_address
from migrator.jobs.browse.queries import Queries, Row
from migrator.pipeline.condition import condition
from migrator.pipeline.summary import StatusSummary
from migrator.printable import LINES, printable
from migrator.store import CATALOG, Archive, Catalog, Snapshot, add_search, copy_catalog, forbid_all_but_reading
from migrator.units import human_size

HERE = Path(__file__).parent
WITHOUT_DATASETTE = "Datasette is not installed: pip install 'tracker-migrator[browse]'"
SHUTDOWN_SECONDS = 3
"""How long a transfer may take to end once the server is stopped."""
MAX_LINK_CHARACTERS = 200
_SETTINGS = {"allow_download": False, "allow_facet": False, "suggest_facets": False}


class Browser:
    """Serves a copy of the catalog of the archive `root`, which lies in `folder`, and the blobs of the archive itself.

    `ConfigError` if there is no archive, or no Datasette. `archive` reads the blobs, if they don't lie in `root`.
    """

    def __init__(self, root: Path, folder: Path, archive: Archive | None = None) -> None:
        require_datasette()
        copy_catalog(root, folder)
        self.summary, self._snapshots = _facts(root, folder)
        add_search(folder)
        self._archive, self._copy = archive or Archive(root), folder / CATALOG

    async def serve(self, listening: socket.socket, stop: asyncio.Event) -> None:
        """Answer requests until `stop` is set."""
        from datasette.app import Datasette
        from datasette.plugins import pm
        from uvicorn import Config, Server

        class Quiet(Server):
            """A server that leaves signals to us."""

            @override
            @contextmanager
            def capture_signals(self) -> Iterator[None]:
                yield

        datasette = Datasette(
            immutables=[str(self._copy)],
            settings=_SETTINGS,
            template_dir=str(HERE / "templates"),
            static_mounts=[("assets", str(HERE / "static"))],
            metadata={"title": "archive"},
        )
        plugin = _Plugin(datasette, Pages(self._archive, self.summary, self._snapshots, _queries(datasette)))
        with _registered(pm, plugin):
            await datasette.invoke_startup()
            config = Config(
                guarded(datasette.app()),
                access_log=False,
                lifespan="off",
                log_config=None,
                server_header=False,
                timeout_graceful_shutdown=SHUTDOWN_SECONDS,
                ws="none",
            )
            server = Quiet(config)
            serving = asyncio.ensure_future(server.serve([listening]))
            await stop.wait()
            server.should_exit = True
            await serving
        datasette.executor.shutdown()
        for database in datasette.databases.values():
            database.close()


def require_datasette() -> None:
    """`ConfigError` if the extra isn't installed."""
    try:
        import datasette.app  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError:
        raise ConfigError(WITHOUT_DATASETTE) from None


def _facts(root: Path, folder: Path) -> tuple[StatusSummary, Sequence[Snapshot]]:
    with closing(Catalog(folder, read_only=True)) as catalog:
        return condition(catalog, root), catalog.snapshots.all()


def _queries(datasette: Any) -> Queries:
    async def execute(statement: str, values: Mapping[str, Any]) -> list[Row]:
        return [dict(row) for row in (await datasette.execute("catalog", statement, values)).rows]

    return Queries(execute)


@contextmanager
def _registered(manager: Any, plugin: object) -> Iterator[None]:
    for installed, _ in manager.list_plugin_distinfo():
        manager.unregister(installed)
    manager.register(plugin)
    try:
        yield
    finally:
        manager.unregister(plugin)


class _Plugin:
    """What Datasette asks of us, by the names of its hooks."""

    __name__ = "migrator"

    def __init__(self, datasette: Any, pages: Pages) -> None:
        from datasette import hookimpl

        self._datasette, self._pages = datasette, pages
        for hook in (_Plugin.register_routes, _Plugin.prepare_connection, _Plugin.prepare_jinja2_environment):
            hookimpl(hook)
        hookimpl(_Plugin.render_cell)

    def register_routes(self) -> list[tuple[str, Callable[..., Awaitable[object]]]]:
        """Our pages come before Datasette's own."""
        return [(path, self._view(view)) for path, view in self._pages.routes.items()]

    def prepare_connection(self, conn: Any, database: str) -> None:
        """Whatever is typed into the SQL console only reads the copy."""
        if database == "catalog":
            forbid_all_but_reading(conn)

    def prepare_jinja2_environment(self, env: Any) -> None:
        """No page shows characters that reverse or hide text."""
        env.finalize = _shown
        env.filters["human_size"] = human_size

    def render_cell(self, value: object) -> str | None:
        """Addresses in Datasette's tables are text."""
        return value[:MAX_LINK_CHARACTERS] if isinstance(value, str) and web_address(value.strip()) else None

    def _view(self, view: Callable[[Parameters], Awaitable[Answer]]) -> Callable[..., Awaitable[object]]:
        from datasette.database import QueryInterrupted
        from datasette.utils.asgi import Response

        async def answer(request: Any, send: Send) -> object:
            parameters = {key: request.args[key] for key in request.args}
            try:
                answered = await self._pages.answer(view, parameters)
            except QueryInterrupted:
                answered = await self._pages.answer(_too_slow, {})
            if isinstance(answered, FileAnswer):
                await _send_file(answered, send, head_only=request.scope[HEAD_ONLY])
                return None
            html = await self._datasette.render_template(answered.template, dict(answered.values), request=request)
            return Response.html(html, status=answered.status)

        return answer


async def _too_slow(_: Parameters) -> Answer:
    return error_page(503, "This search takes too long; give it more words.")


async def _send_file(answer: FileAnswer, send: Send, *, head_only: bool) -> None:
    """Send it. The last chunk waits until the whole is known to be sound; otherwise the transfer breaks off before it.

    To return without an end is how an application asks its server to close the connection.
    """
    headers = [(name.encode(), value.encode()) for name, value in answer.headers().items()]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    last = b""
    if not head_only:
        try:
            async for chunk in answer.body:
                if last:
                    await send({"type": "http.response.body", "body": last, "more_body": True})
                last = chunk
        except (ArchiveDamagedError, StorageError) as error:
            logging.getLogger("migrator").warning("a download was broken off: %s", error)
            return
    await send({"type": "http.response.body", "body": last})


def _shown(value: object) -> object:
    """A value as a template puts it on a page."""
    return value if hasattr(value, "__html__") else printable(str(value), LINES)
