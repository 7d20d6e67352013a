"""A whole backup of a Targetprocess or TeamPulse that lacks something: the rest is in the archive, the lack is told."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

from migrator.sandbox.world.model import World
from migrator.trackers import adapter
from migrator.wire.client import HttpClient
from tests.support.parts import run_backup, stored
from tests.trackers import test_targetprocess_routes, test_teampulse_routes

WORLD = World.generate(entities=12, attachments=40, seed=4, median_bytes=300, large_bytes=0)
SERVERS = {
    "targetprocess": test_targetprocess_routes.OddSandbox,
    "teampulse": test_teampulse_routes.OddSandbox,
}
OPTIONS = {"targetprocess": {"page_size": 9, "inline_images": "skip"}, "teampulse": {"page_size": 20}}


@asynccontextmanager
async def odd(tracker, **how):
    """A server, and how to make a backup of it."""
    parts = adapter(tracker)
    async with SERVERS[tracker](WORLD, **how) as sandbox:
        http = HttpClient(sandbox.url, parts.signer(sandbox.credentials), timeout=10)
        source = parts.source(http, parts.options(**OPTIONS[tracker]))
        yield sandbox, lambda root: run_backup(None, root, source=source, downloads=2)
        await source.close()


def there(tracker):
    """The ids of all files that the tracker has."""
    return {str(file.id) for file in WORLD.attachments if tracker == "targetprocess" or WORLD.owner_of(file)}


@pytest.mark.parametrize(
    ("tracker", "refuses"),
    [
        ("targetprocess", {"Context": 404}),
        ("targetprocess", {"Context": 403}),
        ("targetprocess", {"/Attachments?": 404}),
        ("targetprocess", {"/Attachments?": 501}),
        ("targetprocess", {"Messages": 404}),
        ("targetprocess", {"where=": 500}),
        ("teampulse", {"users/me": 404}),
        ("teampulse", {"users/me": 403}),
        ("teampulse", {"$filter": 500}),
        ("teampulse", {"id eq ": 500}),
        ("teampulse", {"$orderby": 400}),
    ],
)
async def test_what_can_be_had_in_another_way_is_no_failure(tmp_path, tracker, refuses):
    async with odd(tracker, refuses=refuses) as (_, backup):
        summary = await backup(tmp_path)
    assert (summary["status"], summary["failures"]) == ("complete", [])
    assert stored(tmp_path).keys() == there(tracker)


@pytest.mark.parametrize("status", [403, 500])
@pytest.mark.parametrize(
    ("tracker", "lost"),
    [
        ("targetprocess", "Generals?"),
        ("targetprocess", "Comments?"),
        ("targetprocess", "Messages?"),
        ("teampulse", "workitems?"),
    ],
)
async def test_unreadable_list_is_one_failure_with_its_name_and_costs_no_file(tmp_path, tracker, lost, status):
    async with odd(tracker, refuses={lost: status}) as (_, backup):
        summary = await backup(tmp_path)
    assert summary["status"] == "incomplete"
    (failure,) = summary["failures"]
    assert lost[:-1] in failure["reason"]
    assert stored(tmp_path).keys() == there(tracker)


@pytest.mark.parametrize("tracker", sorted(SERVERS))
async def test_storage_that_is_away_for_a_night_makes_nothing_gone(tmp_path, tracker):
    async with odd(tracker) as (sandbox, backup):
        sandbox.faults.gone = {file.id for file in WORLD.attachments}
        summary = await backup(tmp_path)
        assert summary["attachments"]["gone"] == 0
        assert summary["attachments"]["failed"] == len(there(tracker))
        sandbox.faults.gone = set()
        assert (await backup(tmp_path))["status"] == "complete"
    assert stored(tmp_path).keys() == there(tracker)


@pytest.mark.parametrize("tracker", sorted(SERVERS))
async def test_file_that_was_deleted_after_it_was_listed_is_gone(tmp_path, tracker):
    async with odd(tracker) as (sandbox, backup):
        number = max(int(number) for number in there(tracker))
        sandbox.faults.gone = {number}
        record = {"targetprocess": f"Attachments/{number}?", "teampulse": f"attachments/{number}"}[tracker]
        sandbox.refuses = {record: 404}

        def change(request, tree):
            listing = request.path.endswith("v1/attachments")
            return tree if listing or not sandbox.downloads.total() else without(tree, number)

        sandbox.change = change
        summary = await backup(tmp_path)
    assert (summary["attachments"]["gone"], summary["attachments"]["failed"]) == (1, 0), summary["failures"]


def without(tree, number):
    """An answer that doesn't show a file any more."""
    for key in ("Items", "results"):
        if isinstance(tree.get(key), list):
            left = [one for one in tree[key] if one.get("Id", one.get("id")) != number or "fields" in one]
            gone = len(tree[key]) - len(left)
            tree |= {key: left} | ({"totalResults": tree["totalResults"] - gone} if "totalResults" in tree else {})
    return tree
