"""`migrator sandbox --like`: a rehearsal with the shape of one's own tracker, and without its words."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter

import pytest

from migrator.sandbox import SANDBOXES
from migrator.sandbox.world.model import World
from tests.support.parts import rows
from tests.support.program import config_of, configure, ended, run, start

WORLD = World.generate(entities=24, seed=3, attachments=60, large_bytes=0, median_bytes=2_000)


def shape_of(root):
    """How many files the entities have, with their sizes; and the groups of equal contents."""
    found = rows(root, "SELECT kind, entity_id, size, sha256 FROM attachments WHERE status = 'stored'")
    by_entity = {}
    for kind, entity, size, _ in found:
        by_entity.setdefault((kind, entity), []).append(size)
    equal = Counter(sha256 for *_, sha256 in found)
    return sorted(map(sorted, by_entity.values())), sorted(equal.values())


async def rehearsed(tmp_path, tracker, root):
    """The archive of a tracker that takes after another archive."""
    again = tmp_path / "again"
    again.mkdir()
    process = await start("--json", "sandbox", tracker, "--like", root, "--write", again / "try.toml")
    try:
        assert json.loads(await asyncio.wait_for(process.stdout.readline(), 30))["status"] == "complete"
        assert (await run("backup", again / "try.toml")).code == 0
    finally:
        process.send_signal(signal.SIGTERM)
        await ended(process, within=15)
    (copy,) = (path.parent for path in again.rglob("catalog.db"))
    return copy


async def test_a_rehearsal_has_the_shape_of_an_archive_and_none_of_its_words(tmp_path, source):
    config, root = config_of(tmp_path, source), tmp_path / "archive"
    assert (await run("backup", config)).code == 0
    copy = await rehearsed(tmp_path, "targetprocess", root)
    assert shape_of(copy) == shape_of(root)
    counted = "SELECT count(*) FROM entities"
    assert rows(copy, counted) == rows(root, counted)
    names = {archive: {name for (name,) in rows(archive, "SELECT name FROM attachments")} for archive in (root, copy)}
    assert len(names[copy]) == len(names[root])
    assert not {name for name in names[root] & names[copy] if any(map(str.isalpha, name.partition(".")[0]))} - {
        "CON.txt"
    }
    titles = {archive: {title for (title,) in rows(archive, "SELECT title FROM entities")} for archive in (root, copy)}
    assert not titles[root] & titles[copy]


@pytest.mark.parametrize("tracker", ["rt", "trac"])
async def test_files_of_comments_and_second_files_of_a_name_are_rehearsed(tmp_path, tracker):
    async with SANDBOXES[tracker](WORLD) as served:
        assert (await run("backup", configure(tmp_path, served))).code == 0
    root = tmp_path / "archive"
    copy = await rehearsed(tmp_path, tracker, root)
    assert shape_of(copy) == shape_of(root)
    in_comments = "SELECT count(*) FROM attachments WHERE comment_id IS NOT NULL"
    assert rows(copy, in_comments) == rows(root, in_comments)


async def test_an_archive_that_is_not_there_is_bad_usage(tmp_path):
    refused = await run("sandbox", "redmine", "--like", tmp_path / "nothing")
    assert refused.code == 2
    assert "nothing" in refused.err
