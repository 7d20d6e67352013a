"""A sandbox Targetprocess with its truth, for the contracts and for the oddities."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from aiohttp import web

from migrator.model import NOBODY, Attachment, Entity, EntityRef
from migrator.sandbox.targetprocess.app import TargetprocessSandbox
from migrator.sandbox.targetprocess.files import PIXEL
from migrator.sandbox.world.model import World, WorldAttachment
from migrator.testing import BoundSource, BoundTarget, Expected, Truth, comparable, crawl, nowhere
from migrator.trackers.targetprocess import ADAPTER, Options, TargetprocessSource, TargetprocessTarget
from migrator.wire.client import HttpClient

WORLD = World.generate(entities=24, attachments=90, median_bytes=400, large_bytes=1_500_000)
SKIP = Options(page_size=40, inline_images="skip")


def client(url: str, files: dict[str, str] | None = None, **auth: str) -> HttpClient:
    known = auth or {"username": TargetprocessSandbox.user, "password": TargetprocessSandbox.password}
    return HttpClient(
        url,
        ADAPTER.signer(known),
        files=ADAPTER.signer(files) if files else None,
        connections=ADAPTER.capabilities.max_connections,
    )


@asynccontextmanager
async def running(world: World = WORLD, **oddities: Any) -> AsyncIterator[TargetprocessSandbox]:
    async with TargetprocessSandbox(world, **oddities) as sandbox:
        yield sandbox


@asynccontextmanager
async def source_of(
    sandbox: TargetprocessSandbox, options: Options = SKIP, **auth: Any
) -> AsyncIterator[TargetprocessSource]:
    source = TargetprocessSource(client(sandbox.url, **auth), options)
    yield source
    await source.close()


@asynccontextmanager
async def target_of(sandbox: TargetprocessSandbox, **auth: Any) -> AsyncIterator[TargetprocessTarget]:
    target = TargetprocessTarget(client(sandbox.url, **auth), SKIP)
    yield target
    await target.close()


def owner_of(sandbox: TargetprocessSandbox, file: WorldAttachment) -> EntityRef:
    number = sandbox.world.owner_of(file)
    return NOBODY if number is None else EntityRef(sandbox.kind_of(number), str(number))


def expected_files(sandbox: TargetprocessSandbox) -> list[Expected]:
    """Every file of the world, as it has to arrive."""
    return [
        Expected.of(owner_of(sandbox, file), file.name, sandbox.world.content(file), file.description or "")
        for file in sandbox.state.attachments()
    ]


def inline_images(sandbox: TargetprocessSandbox) -> list[Expected]:
    return [
        Expected.of(EntityRef(sandbox.kind_of(entity.id), str(entity.id)), f"inline-{entity.id}.png", PIXEL)
        for entity in sandbox.state.entities()
        if "~/images/" in entity.text
    ]


def bound_source(sandbox: TargetprocessSandbox, options: Options, **auth: str) -> BoundSource:
    inline = inline_images(sandbox) if options.inline_images == "list" else []

    def build() -> TargetprocessSource:
        return TargetprocessSource(client(sandbox.url, **auth), options)

    return BoundSource(
        build(),
        build,
        {EntityRef(sandbox.kind_of(entity.id), str(entity.id)) for entity in sandbox.state.entities()},
        expected_files(sandbox) + inline,
        gone=Attachment("99999", NOBODY, "gone.txt"),
        missing=Entity(EntityRef("Bug", "99999")),
        refused=lambda: TargetprocessSource(client(sandbox.url, username="System", password="wrong"), options),
        unreachable=lambda: TargetprocessSource(client(nowhere()), options),
    )


CREATING = replace(SKIP, create_project="Sandbox")


def bound_target(sandbox: TargetprocessSandbox) -> BoundTarget:
    owner = next(e for e in sandbox.state.entities() if 1 < len(sandbox.lists.attached(e.id)) < 10)

    async def files_of(ref: EntityRef) -> list[Truth]:
        described = [(f.name, f.size, f.sha256, f.description) for f in sandbox.state.files_of(int(ref.id))]
        return [(name, size, sha, "" if text in {None, name} else text) for name, size, sha, text in described]

    def build() -> TargetprocessTarget:
        return TargetprocessTarget(client(sandbox.url), CREATING)

    return BoundTarget(
        build(),
        build,
        EntityRef(sandbox.kind_of(owner.id), str(owner.id)),
        EntityRef("Bug", "99999"),
        files_of,
        gone=Attachment("99999", NOBODY, "gone.txt"),
        refused=lambda: TargetprocessTarget(client(sandbox.url, username="System", password="wrong"), SKIP),
        unreachable=lambda: TargetprocessTarget(client(nowhere()), SKIP),
        limits_names=False,
    )


@asynccontextmanager
async def answering(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """A server that answers every request so; gives its URL."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def all_of(source: TargetprocessSource) -> Counter[tuple[EntityRef, str, str]]:
    """Owner, name and description of each file that a crawl finds."""
    return Counter(comparable(file) for file in (await crawl(source)).attachments.values())


def all_in(sandbox: TargetprocessSandbox) -> Counter[tuple[EntityRef, str, str]]:
    """The same of each file that it should find."""
    return Counter((file.owner, file.name, file.description) for file in expected_files(sandbox))
