"""Marks of created entities, where a tracker can't be searched: one walk finds all, and doubt walks again."""

from __future__ import annotations

import pytest

from migrator import errors
from migrator.model import EntityDraft, EntityRef
from migrator.sandbox.teampulse.app import TeamPulseSandbox
from migrator.sandbox.world.model import World
from migrator.testing import stub
from migrator.trackers.markers import MarkerIndex
from migrator.trackers.targetprocess import TargetprocessTarget
from migrator.trackers.teampulse import ADAPTER, Options, TeamPulseTarget
from migrator.wire.client import HttpClient
from tests.trackers.targetprocess_bound import CREATING, answering, client

OLD, NEW = f"migrator-{'a' * 24}", f"migrator-{'b' * 24}"


class Walked:
    """Entities with descriptions, and how often all of them were listed."""

    def __init__(self, **texts: str) -> None:
        self.texts, self.walks = texts, 0

    async def walk(self):
        self.walks += 1
        for number, text in self.texts.items():
            yield EntityRef("Issue", number), text


async def test_one_walk_answers_for_all_and_what_was_made_is_known():
    there = Walked(one=f"text\n{OLD}", other="none")
    marks = MarkerIndex(there.walk)
    assert await marks.find(OLD) == EntityRef("Issue", "one")
    assert await marks.find(NEW) is None

    async def made():
        return EntityRef("Issue", "new")

    assert await marks.created(NEW, made()) == EntityRef("Issue", "new")
    assert await marks.find(NEW) == EntityRef("Issue", "new")
    assert there.walks == 1


async def test_a_marker_without_an_answer_is_looked_for_until_it_is_found():
    there = Walked()
    marks = MarkerIndex(there.walk)
    assert await marks.find(NEW) is None

    async def unanswered():
        raise errors.OutcomeUnknownError("sent")

    with pytest.raises(errors.OutcomeUnknownError):
        await marks.created(NEW, unanswered())
    assert await marks.find(NEW) is None
    there.texts["late"] = f"<div>{NEW}</div>"
    assert await marks.find(NEW) == EntityRef("Issue", "late")
    assert await marks.find(NEW) == EntityRef("Issue", "late")
    assert there.walks == 3


async def test_a_teampulse_that_ignores_filters_is_walked(monkeypatch):
    monkeypatch.setattr("migrator.sandbox.teampulse.lists.parse_filter", lambda *_: None)
    async with TeamPulseSandbox(World.generate(entities=30, attachments=0)) as sandbox:
        http = HttpClient(sandbox.url, ADAPTER.signer(sandbox.credentials))
        target = TeamPulseTarget(http, Options(page_size=7, create_project="Sandbox"))
        try:
            draft = stub("walked")
            assert await target.find_entity(draft) is None
            made = await target.create_entity(draft)
            assert await target.find_entity(draft) == made
            fresh = TeamPulseTarget(http, Options(page_size=7))
            assert await fresh.find_entity(draft) == made
            assert await fresh.find_entity(stub("not there")) is None
        finally:
            await target.close()


async def test_a_targetprocess_that_ignores_filters_gets_no_stub_rather_than_two():
    from aiohttp import web

    async def everything(_):
        return web.json_response({"Items": [{"Id": 1, "Description": "somebody else's"}]})

    async with answering(everything) as url:
        target = TargetprocessTarget(client(url), CREATING)
        try:
            with pytest.raises(errors.RejectedError, match="does not search"):
                await target.find_entity(EntityDraft("Bug", "x", "", NEW))
        finally:
            await target.close()
