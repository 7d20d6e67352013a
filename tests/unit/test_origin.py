"""Credentials go to the configured address only: every tracker, whatever addresses its answers hold.

A front before each embedded tracker writes a stranger's address into all answers and redirects every file to it; the
stranger hands out the files, and keeps what it was asked with.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from unittest.mock import patch
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from migrator.layers.retry import RetryingTarget
from migrator.sandbox import SANDBOXES
from migrator.sandbox.server import Sandbox
from migrator.sandbox.world.model import World
from migrator.testing import crawl
from migrator.trackers import adapter
from migrator.wire.client import HttpClient
from migrator.wire.exchange import Exchange
from tests.support.parts import PATIENCE, run_backup, run_load
from tests.support.tls import served

OPTIONS = {"targetprocess": {"inline_images": "skip"}, "issuetrak": {"created_by": "APIUser"}}
REDIRECTS = {"kiwi", "redmine", "roundup", "targetprocess", "teampulse", "squash"}
"""The files of the others come inside of JSON."""
TEXT = ("json", "xml", "html", "form", "text/plain")
HOP = {"host", "content-length", "transfer-encoding", "connection", "content-encoding", "date", "server"}


class Front:
    """Passes requests on to a sandbox, and has its answers point elsewhere."""

    def __init__(self, sandbox: Sandbox, session: aiohttp.ClientSession) -> None:
        self._sandbox, self._session = URL(sandbox.url).origin(), session
        self.stranger = ""
        self.files: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.asked: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        there = URL(f"{self._sandbox}{request.raw_path}", encoded=True)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP}
        for name in {"Origin", "Referer"} & headers.keys():  # the tracker knows itself by another name
            headers[name] = headers[name].replace(self.stranger, str(self._sandbox))
        body = await request.read()
        async with self._session.request(
            request.method, there, headers=headers, data=body, allow_redirects=False
        ) as response:
            content, kept = await response.read(), dict(response.headers)
        kept = {name: value for name, value in kept.items() if name.lower() not in HOP}
        is_file = "Content-Disposition" in kept or not any(word in kept.get("Content-Type", "") for word in TEXT)
        is_file = is_file or request.path.startswith("/uploads/")  # Kiwi calls all of them plain text
        if request.method == "GET" and response.status == 200 and is_file and content:
            name = f"/stored/{len(self.files)}"
            self.files[name] = content, kept
            return web.Response(status=302, headers={"Location": self.stranger + name})
        if any(word in kept.get("Content-Type", "") for word in ("json", "xml")):
            for ours in {f"{request.scheme}://{request.host}", str(self._sandbox)}:
                content = content.replace(ours.encode(), self.stranger.encode())
        return web.Response(status=response.status, body=content, headers=kept)

    async def elsewhere(self, request: web.Request) -> web.Response:
        """The stranger."""
        self.asked.append(f"{request.raw_path} {dict(request.headers)} {await request.text()}")
        if request.path not in self.files:
            return web.Response(status=404)
        content, headers = self.files[request.path]
        return web.Response(body=content, headers=headers)


@contextlib.asynccontextmanager
async def fronted(sandbox: Sandbox) -> AsyncIterator[tuple[Front, str]]:
    """The front of a sandbox, and the address of a tracker that stands behind it."""
    async with aiohttp.ClientSession(auto_decompress=True) as session:
        front = Front(sandbox, session)
        async with served(front.elsewhere) as stranger, served(front.answer) as base:
            front.stranger = stranger
            yield front, base + URL(sandbox.url).path.rstrip("/")


def secrets_of(sandbox: Sandbox) -> set[str]:
    """What must not get out, in every form in which it travels."""
    given = {value for key, value in sandbox.credentials.items() if key != "username"}
    issued = {*getattr(sandbox, "_tokens", ()), getattr(sandbox, "_refresh_token", "")} - {"", None}
    pair = ":".join(sandbox.credentials.values())
    plain = given | issued | {base64.b64encode(pair.encode()).decode()}
    return {form for secret in plain for form in (secret, quote(secret, safe=""))}


def leaks(front: Front, sandbox: Sandbox) -> list[str]:
    """Requests to the stranger that hold a credential, or a header that is there to carry one."""
    words = ("'Authorization'", "'Cookie'", "Api-Key", "API-Key", "X-Issuetrak", "token=", *secrets_of(sandbox))
    return [asked for asked in front.asked if any(word in asked for word in words)]


def made(sandbox: Sandbox, url: str, side: str):
    parts = adapter(sandbox.tracker)
    http = HttpClient(url, parts.signer(sandbox.credentials), timeout=20)
    return getattr(parts, side)(http, parts.options(**OPTIONS.get(sandbox.tracker, {})))


async def backup_and_load(sandbox: Sandbox, url: str, root: Path) -> tuple[dict, dict]:
    """All that it has goes into an archive, and from each entity onto another one of its kind."""
    source = made(sandbox, url, "source")
    backed_up = await run_backup(None, root, source=source)
    by_kind = defaultdict(list)
    for ref in sorted((await crawl(source)).entities, key=str):
        by_kind[ref.kind].append(ref)
    await source.close()
    pairs = [pair for refs in by_kind.values() for pair in itertools.pairwise(refs)]
    target = RetryingTarget(made(sandbox, url, "target"), PATIENCE)
    loaded = await run_load(None, root, {one: (other,) for one, other in pairs}, target=target)
    await target.close()
    return backed_up, loaded


def world() -> World:
    return World.generate(entities=40, attachments=30, median_bytes=300, large_bytes=0)


@pytest.mark.parametrize("tracker", sorted(SANDBOXES))
async def test_no_other_host_ever_sees_a_credential(tracker, tmp_path):
    async with SANDBOXES[tracker](world()) as sandbox, fronted(sandbox) as (front, url):
        backed_up, loaded = await backup_and_load(sandbox, url, tmp_path)
        assert backed_up["attachments"]["stored"] > 10, backed_up["failures"]
        assert loaded["uploads"]["uploaded"] > 5, loaded["failures"]
        assert bool(front.asked) is (tracker in REDIRECTS)
        assert leaks(front, sandbox) == []


async def test_redirect_that_were_followed_with_credentials_would_be_noticed(tmp_path):
    real, signers = Exchange._signed, []

    async def careless(self, request, hop, signer):
        signers.extend([signer] if signer else [])
        return await real(self, request, hop, signers[-1])

    async with SANDBOXES["targetprocess"](world()) as sandbox, fronted(sandbox) as (front, url):
        with patch.object(Exchange, "_signed", careless):
            source = made(sandbox, url, "source")
            await run_backup(None, tmp_path, source=source)
            await source.close()
        assert leaks(front, sandbox)
