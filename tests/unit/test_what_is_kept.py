"""The trackers' table of what is read, written, checked, kept and deleted: each cell is tried on a tracker."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import pytest

from migrator.errors import RejectedError
from migrator.model import NOBODY, Attachment, Draft, EntityRef
from migrator.sandbox import SANDBOXES
from migrator.sandbox.server import Sandbox
from migrator.sandbox.world.model import World
from migrator.testing import Bytes, crawl
from migrator.trackers import adapter
from migrator.wire.client import HttpClient

README = (Path(__file__).parents[2] / "migrator" / "trackers" / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("## What is read, written, checked, kept and deleted\n")[2].partition("\n## ")[0]
ROWS = {
    cells[0]: tuple(cells[1:])
    for line in SECTION.splitlines()
    if line.startswith("|") and not line.startswith(("| ---", "| tracker"))
    for cells in [[cell.strip() for cell in line.strip("|").split("|")]]
}
TRACKERS = {
    "Targetprocess": "targetprocess",
    "TeamPulse": "teampulse",
    "Issuetrak": "issuetrak",
    "Redmine": "redmine",
    "Request Tracker": "rt",
    "Squash TM": "squash",
    "Trac": "trac",
}
PROMISED = {
    "Kiwi TCMS": ("kiwi", {"username": "x", "password": "x"}),
    "Roundup": ("roundup", {"username": "x", "password": "x"}),
}
"""Trackers without a sandbox, with credentials. The contract suite holds what their adapters promise."""
OPTIONS = {"targetprocess": {"inline_images": "skip"}, "issuetrak": {"created_by": "APIUser"}}
SIZED = {"Kiwi TCMS": "no", "Roundup": "where told"}
"""What the table says of sizes, where it is not yes."""
AUTHOR = "Ann Lee"
KINDS = set(re.findall(r"Squash TM `([\w-]+)`", SECTION))


def test_the_table_has_every_tracker_and_the_twelve_kinds():
    assert len(KINDS) == 12
    assert {row.split(" `")[0] for row in ROWS} == {*TRACKERS, *PROMISED}


def made(sandbox: Sandbox, side: str):
    """The adapter of a sandbox as source or target."""
    parts = adapter(sandbox.tracker)
    http = HttpClient(sandbox.url, parts.signer(sandbox.credentials))
    return getattr(parts, side)(http, parts.options(**OPTIONS.get(sandbox.tracker, {})))


async def seen_in(source, target, to: EntityRef) -> list[str]:
    """The cells as the tracker bears them out: a file goes up, is looked at, and is deleted."""
    draft = Draft("seen.txt", "text/plain", "in words", 5, "2014-05-06T07:08:09", AUTHOR)
    await target.upload(to, draft, Bytes(b"bytes"))
    [found] = [file for file in await target.find_attachments(to) if file.name == "seen.txt"]
    if target.capabilities.sets_description and found.description != "in words":
        await target.describe(found, "in words")
        [found] = [file for file in await target.find_attachments(to) if file.name == "seen.txt"]
    dated = found.created_at.startswith("2014-05-06T07:08:09") and found.created_by == AUTHOR
    read = any(file.name == "seen.txt" and file.owner == to for file in (await crawl(source)).attachments.values())
    cells = [read, True, sized(target, found), found.description == "in words", dated]
    with suppress(RejectedError):
        await target.delete(found)
    there = [file.name for file in await target.find_attachments(to)]
    shown = {True: "yes", False: "no"}
    return [shown.get(cell, cell) for cell in [*cells, "seen.txt" not in there, target.capabilities.creates]]


def sized(target, found: Attachment) -> bool | str:
    """Every file is listed with its size, or only where the tracker tells it."""
    assert found.size in {5, None}
    return target.capabilities.reports_size or "where told"


@pytest.mark.parametrize("row", [row for row in ROWS if row not in PROMISED])
async def test_each_cell_is_what_the_tracker_bears_out(row):
    name, _, kind = row.partition(" `")
    kind = kind.rstrip("`")
    world = World.generate(entities=60, attachments=120, median_bytes=300, large_bytes=0)
    async with SANDBOXES[TRACKERS[name]](world) as sandbox:
        source, target = made(sandbox, "source"), made(sandbox, "target")
        done = await crawl(source)
        owners = [ref for ref in sorted(done.entities, key=str) if ref.kind == kind] if kind else []
        owners += [file.owner for file in done.attachments.values() if file.owner != NOBODY and not kind]
        try:
            assert tuple(await seen_in(source, target, owners[0])) == ROWS[row]
        finally:
            await source.close()
            await target.close()


@pytest.mark.parametrize("row", PROMISED)
async def test_the_row_is_what_the_adapter_promises(row):
    name, auth = PROMISED[row]
    parts = adapter(name)
    can = parts.target(HttpClient("http://127.0.0.1", parts.signer(auth)), parts.options()).capabilities
    shown = {True: "yes", False: "no"}
    told = (can.sets_description, can.keeps_author_and_date, can.deletes, can.creates)
    assert ROWS[row] == ("yes", "yes", SIZED.get(row, "yes"), *(shown[cell] for cell in told))
    assert (ROWS[row][2] == "yes") == can.reports_size
