"""Each tracker's adapter, over HTTP, against a server whose entities and files change between any two requests.

What was there all the time is in the archive, with its bytes and on its own entity. MIGRATOR_FUZZ=20 runs twenty times
as many schedules.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from migrator.trackers import adapter
from migrator.wire.client import HttpClient
from tests.fuzz import examples
from tests.support.parts import rows, run_backup, stored
from tests.unit.listing.living import Living, Step, living, schedules, small_world

WAYS: dict[str, tuple[tuple[dict[str, Any], dict[str, Any]], ...]] = {
    "issuetrak": (({"page_size": 20}, {}), ({"issue_numbers": "101-262"}, {}), ({"page_size": 20, "zip": True}, {})),
    "squash": (({"page_size": 2}, {}), ({"page_size": 3}, {"embeds_files": ("test-cases", "projects"), "size_cap": 2})),
    "targetprocess": (({"page_size": 3}, {}), ({"page_size": 3, "cross_check": "off"}, {"sortable": False})),
    "teampulse": (({"page_size": 3}, {}), ({"page_size": 3}, {"sortable": False}), ({}, {"totals_of_page": True})),
}
"""Options of the adapter, and oddities of the server."""
SIZES = {"issuetrak": (50, 30), "squash": (56, 40), "targetprocess": (20, 24), "teampulse": (16, 24)}
BY_ENTITY = {"issuetrak", "squash"}
"""Trackers that tell of files by entity only: a file that goes from one not yet read to one already read is missed."""


async def crawled(sandbox: Living, root: Path, options: dict[str, Any]) -> dict[str, Any]:
    parts = adapter(sandbox.tracker)
    known = parts.options.__dataclass_fields__
    given_ = {"inline_images": "skip", **options}
    http = HttpClient(sandbox.url, parts.signer(sandbox.credentials), timeout=10)
    source = parts.source(http, parts.options(**{key: value for key, value in given_.items() if key in known}))
    try:
        async with asyncio.timeout(60):
            return await run_backup(None, root, source=source, downloads=2, max_gone=None)
    finally:
        await source.close()


def told(root: Path) -> dict[int, tuple[str, str, str, str, str]]:
    """What the catalog has of each file."""
    columns = "attachment_id, kind, entity_id, status, name, sha256"
    return {int(id_): tuple(rest) for id_, *rest in rows(root, f"SELECT {columns} FROM attachments")}


def assert_holds_what_was_there(sandbox: Living, root: Path, summary: dict[str, Any]) -> None:
    # A file whose bytes were replaced between its listing and its download is named as failed, for the next run.
    # So is an entity that was deleted between its listing and the question for its files, and what it carried.
    failed = {int(one["attachment"]) for one in summary["failures"] if one["attachment"]}
    vanished = {(one["kind"], one["entity"]) for one in summary["failures"] if not one["attachment"]}
    assert not vanished & {(ref.kind, ref.id) for ref in sandbox.unharmed.values()}, summary["failures"]
    changed = {number for number, contents in sandbox.contents.items() if len(contents) > 1}
    assert not failed & (set(sandbox.unharmed) - changed), summary["failures"]
    assert summary["status"] == ("incomplete" if summary["failures"] else "complete")
    found, kept = told(root), stored(root)
    for number, owner in sandbox.unharmed.items():
        kind, entity, status, _, _ = found[number]
        assert (status, kind, entity) == ("stored", owner.kind, owner.id)
    for number, (kind, entity, status, _, _) in found.items():
        assert status in ({"failed"} if number in failed else {"stored", "gone"})
        assert (kind, entity) in {(ref.kind, ref.id) for ref in sandbox.owners[number]} | {("Unlinked", "")}
    for id_, (_, sha256) in kept.items():
        assert sha256 in sandbox.contents[int(id_)]


def assert_is_as_it_is_now(sandbox: Living, root: Path, summary: dict[str, Any]) -> None:
    """After a crawl in which nothing happened."""
    assert summary["status"] == "complete", summary["failures"]
    now = {}
    for file in sandbox.present():
        owner = sandbox.owner_ref(file)
        now[file.id] = (
            owner.kind,
            owner.id,
            "stored",
            file.name,
            hashlib.sha256(sandbox.world.content(file)).hexdigest(),
        )
    assert {number: row for number, row in told(root).items() if row[2] != "gone"} == now


async def one(tracker: str, schedule: list[Step], way: int, root: Path) -> int:
    options, oddities = WAYS[tracker][way % len(WAYS[tracker])]
    async with living(tracker, small_world(*SIZES[tracker]), schedule, **oddities) as sandbox:
        summary = await crawled(sandbox, root, options)
        assert_holds_what_was_there(sandbox, root, summary)
        happened = len(schedule) - len(sandbox.pending)
        sandbox.begin([])
        assert_is_as_it_is_now(sandbox, root, await crawled(sandbox, root, options))
    return happened


@pytest.mark.parametrize("tracker", sorted(WAYS))
def test_what_was_there_all_the_time_is_in_the_archive(tracker, tmp_path):
    happened = 0
    with asyncio.Runner() as runner:

        @examples(20)
        @given(schedules, st.integers(0, 5))
        @example([Step(1, "purge entities", 0, 1)] * 6, 0)
        @example([Step(1, "purge files", 0, 1)] * 6, 1)
        def attempt(schedule, way):
            nonlocal happened
            with tempfile.TemporaryDirectory(dir=tmp_path) as root:
                happened += runner.run(one(tracker, schedule, way, Path(root)))

        attempt()
    assert happened > 20, "hardly anything happened"
