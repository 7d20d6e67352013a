"""`migrator browse` as a program: how it starts and ends, and how a browser draws what it serves."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import aiohttp
import pytest
from playwright.async_api import Page, async_playwright

from migrator.store import Catalog
from migrator.trackers.memory import MemoryTracker
from tests.support.browsed import hostile_archive
from tests.support.parts import FULL, run_backup
from tests.support.program import ended, run, start


@asynccontextmanager
async def browsing(root: Path, *options: object) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    process = await start("--json", "browse", root, *options)
    try:
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        assert line, (await ended(process)).err
        yield json.loads(line)["url"], process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            assert "Traceback" not in (await ended(process, within=15)).err


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path): hashlib.sha256(path.read_bytes()).digest() for path in folder.rglob("*") if path.is_file()}


# The command


async def test_it_serves_until_it_is_stopped_and_leaves_nothing_behind(tmp_path, monkeypatch):
    root, temporary = tmp_path / "archive", tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    await hostile_archive(root)
    before = files_in(root)
    async with browsing(root) as (url, process), aiohttp.ClientSession() as session:
        assert urlsplit(url).hostname == "127.0.0.1"
        for path in ("", "search?q=report", "catalog", "catalog/attachments", "catalog?sql=select+1"):
            async with session.get(url + path) as answer:
                assert answer.status == 200
        assert files_in(root) == before, "nothing is written into the archive while it is served"
        assert list(temporary.iterdir())
        process.send_signal(signal.SIGINT)
        finished = await ended(process, within=15)
    assert finished.code == 0
    assert "Traceback" not in finished.err
    assert files_in(root) == before
    assert list(temporary.iterdir()) == []


async def test_a_port_in_use_and_a_folder_without_archive_are_status_2(tmp_path):
    await run_backup(MemoryTracker(), tmp_path / "archive")
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        finished = await run("--json", "browse", tmp_path / "archive", "--port", port)
    assert finished.code == 2
    assert str(port) in finished.document["error"]["message"]
    (tmp_path / "empty").mkdir()
    assert (await run("browse", tmp_path / "empty")).code == 2
    assert list((tmp_path / "empty").iterdir()) == []


async def test_a_damaged_catalog_is_status_5(tmp_path):
    await run_backup(MemoryTracker(), tmp_path / "archive")
    (tmp_path / "archive" / "catalog.db").write_bytes(b"no catalog" * 1000)
    assert (await run("browse", tmp_path / "archive")).code == 5


async def test_without_datasette_it_says_what_to_install(tmp_path, monkeypatch):
    await run_backup(MemoryTracker(), tmp_path / "archive")
    monkeypatch.setitem(sys.modules, "datasette.app", None)
    finished = await run("browse", tmp_path / "archive")
    assert finished.code == 2
    assert "pip install 'tracker-migrator[browse]'" in finished.err


async def test_it_shows_a_catalog_that_a_run_is_writing(tmp_path):
    root = tmp_path / "archive"
    await hostile_archive(root)
    with closing(Catalog(root)) as catalog:  # as a run has it: changes are in the log, not in the file yet
        catalog.db.execute("UPDATE entities SET title = 'changed in the log' WHERE entity_id = '1'")
        catalog.db.conn.commit()
        async with browsing(root) as (url, _), aiohttp.ClientSession() as session:
            catalog.db.execute("UPDATE entities SET title = 'changed later' WHERE entity_id = '1'")
            catalog.db.conn.commit()  # the browser holds no lock
            async with session.get(url + "search?q=changed") as answer:
                assert "changed in the log" in await answer.text()


# In a browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDTHS_PIXELS = (1280, 390)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)")
@pytest.mark.parametrize("scheme", ["light", "dark"] if FULL else ["dark"])
async def test_every_page_is_drawn_wide_and_narrow_without_an_error(tmp_path, scheme):
    """Screenshots are in the test's folder; MIGRATOR_SCREENSHOTS names another one, to look at them."""
    folder = Path(os.environ.get("MIGRATOR_SCREENSHOTS") or tmp_path)
    _, ids = await hostile_archive(tmp_path / "archive")
    entity = "entity?" + urlencode({"kind": "Bug", "id": "1"})
    pages = {
        "start": "", "past": "?at=1", "search": "search?q=report", "all": "search", "failures": "failures",
        "entity": entity, "picture": f"file?id={ids['picture']}", "text": f"file?id={ids['old']}",
        "html": f"file?id={ids['odd']}", "svg": f"file?id={ids['svg']}",
        "database": "catalog", "table": "catalog/entities", "sql": "catalog?sql=select+*+from+runs",
    }  # fmt: skip
    async with browsing(tmp_path / "archive") as (url, _), async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for width in WIDTHS_PIXELS:
            context = await browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
            page = await context.new_page()
            wrong = complaints(page, url)
            for name, path in pages.items():
                answer = await page.goto(url + path, wait_until="load")
                assert answer.status == 200
                await page.screenshot(path=folder / f"{name}-{width}-{scheme}.png", full_page=True)
                assert wrong == [], name
                if not path.startswith("catalog"):
                    assert await page.evaluate("document.documentElement.scrollWidth") <= width, name
            await page.goto(url + entity)
            await page.evaluate("document.querySelector('.thumb img').decode()")
            assert await page.evaluate("document.querySelector('.thumb img').naturalWidth") == 40
            assert await page.evaluate("document.querySelectorAll('script, .thumb img').length") == 1
            await context.close()
        await browser.close()


def complaints(page: Page, url: str) -> list[str]:
    """What goes wrong on a page from now on: messages on its console, errors, scripts, requests to other hosts."""
    wrong: list[str] = []

    def requested(address: str) -> None:
        if not address.startswith(url):
            wrong.append(f"requested: {address}")

    page.on("console", lambda message: wrong.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("requestfailed", lambda request: wrong.append(f"failed: {request.url}"))
    page.on("request", lambda request: requested(request.url))
    return wrong
