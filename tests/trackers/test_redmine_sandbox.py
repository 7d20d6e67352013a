"""The adapter for Redmine keeps the port against the sandbox, too, under each of its quirks."""

from __future__ import annotations

from collections import Counter

import pytest

from migrator import errors
from migrator.model import Attachment, Entity, EntityRef
from migrator.sandbox.redmine import RedmineSandbox
from migrator.sandbox.world.model import World
from migrator.testing import BoundSource, BoundTarget, Expected, SourceContract, TargetContract, crawl, nowhere
from migrator.trackers.redmine import ADAPTER, Options, RedmineSource, RedmineTarget
from migrator.trackers.redmine.parse import ISSUE, PROJECT
from migrator.wire.client import HttpClient

WORLD = World.generate(entities=12, seed=3, median_bytes=500, large_bytes=0)


def client(sandbox: RedmineSandbox, key: str = "") -> HttpClient:
    return HttpClient(sandbox.url, ADAPTER.signer({"api_key": key or sandbox.key}), timeout=20)


def source(sandbox: RedmineSandbox, key: str = "") -> RedmineSource:
    return RedmineSource(client(sandbox, key), Options())


def target(sandbox: RedmineSandbox, key: str = "") -> RedmineTarget:
    return RedmineTarget(client(sandbox, key), Options(create_project="sandbox", create_kind="Support"))


def held(sandbox: RedmineSandbox) -> list[Expected]:
    """All files that a source should find."""
    return [
        Expected(
            EntityRef(ISSUE, str(file.entity_id)) if file.entity_id else EntityRef(PROJECT, "1"),
            file.name,
            file.size,
            sandbox.state.sha256_of(file),
            file.description or "",
        )
        for file in sandbox.world.attachments
    ]


@pytest.fixture(autouse=True)
def small_pages(monkeypatch):
    monkeypatch.setattr("migrator.trackers.redmine.client.PAGE_SIZE", 5)


class TestSource(SourceContract):
    @pytest.fixture(params=[{}, {"lists_files": False}, {"base_path": "/redmine"}, {"admin": False}], ids=str)
    async def bound(self, request):
        async with RedmineSandbox(WORLD, **request.param) as sandbox:
            first = EntityRef(ISSUE, str(WORLD.entities[0].id))
            bound = BoundSource(
                source(sandbox),
                lambda: source(sandbox),
                {EntityRef(ISSUE, str(entity.id)) for entity in WORLD.entities} | {EntityRef(PROJECT, "1")},
                held(sandbox),
                gone=Attachment("99999", first, "gone.txt"),
                missing=Entity(EntityRef(ISSUE, "99999")),
                refused=lambda: source(sandbox, "wrong"),
                unreachable=lambda: RedmineSource(HttpClient(nowhere(), ADAPTER.signer({"api_key": "x"})), Options()),
            )
            yield bound
            await bound.source.close()


class TestTarget(TargetContract):
    @pytest.fixture(params=[{}, {"old_upload_answer": True}, {"base_path": "/redmine"}], ids=str)
    async def bound(self, request):
        async with RedmineSandbox(WORLD, **request.param) as sandbox:
            owners = (file.owner for file in held(sandbox) if file.owner.kind == ISSUE)
            busiest = Counter(owners).most_common(1)[0][0]

            async def files_of(ref: EntityRef):
                return [(f.name, f.size, f.sha256, f.description or "") for f in sandbox.state.files_of(int(ref.id))]

            bound = BoundTarget(
                target(sandbox),
                lambda: target(sandbox),
                busiest,
                EntityRef(ISSUE, "99999"),
                files_of,
                gone=Attachment("99999", busiest, "gone.txt"),
                refused=lambda: target(sandbox, "wrong"),
                unreachable=lambda: RedmineTarget(HttpClient(nowhere(), ADAPTER.signer({"api_key": "x"})), Options()),
            )
            yield bound
            await bound.target.close()


async def test_a_wrong_key_is_refused_although_the_list_answers():
    async with RedmineSandbox(WORLD) as sandbox:
        made = source(sandbox, "wrong")
        with pytest.raises(errors.AuthError):
            await crawl(made)
        assert sandbox.requests["GET /issues.json"] == 0, "the account is asked for first"
        await made.close()


async def test_an_api_that_is_switched_off_is_named():
    async with RedmineSandbox(WORLD, rest_enabled=False) as sandbox:
        made = source(sandbox)
        with pytest.raises(errors.AuthError, match="switched off"):
            await made.check()
        await made.close()
