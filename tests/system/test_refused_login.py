"""A tracker that refuses the login or isn't reached leaves a failed run, and `status` says since when and why."""

from __future__ import annotations

import json
from contextlib import closing

import pytest

from migrator.sandbox.targetprocess.app import TargetprocessSandbox
from migrator.sandbox.world.model import World
from migrator.store.catalog import Catalog
from migrator.store.lock import ArchiveLock
from tests.support.parts import rows
from tests.support.program import configure, run

WORLD = World.generate(entities=4, seed=3, attachments=4, median_bytes=200)
NOWHERE = "http://127.0.0.1:9"
LIMITS = {"retries": 0, "backoff": "0.01 s"}
SKIPPED = {"inline_images": "skip"}


@pytest.fixture
async def backed_up(tmp_path, target):
    """A configuration whose archive has been filled and loaded, and the addresses of its two trackers."""
    async with TargetprocessSandbox(WORLD) as source:
        config = configure(tmp_path, source, target, limits=LIMITS, source__options=SKIPPED)
        assert (await run("backup", config)).code == 0
        assert (await run("load", config)).code == 0
        yield config, source.url, target.url


def last_run(root):
    """Command, status and error of the last run."""
    [(command, status, summary)] = rows(root, "SELECT command, status, summary FROM runs ORDER BY run_id DESC LIMIT 1")
    return command, status, json.loads(summary)["error"]


@pytest.mark.parametrize(
    ("words", "side"),
    [
        (("backup",), 1),
        (("restore",), 1),
        (("load",), 2),
        (("load", "--dry-run"), 2),
        (("map",), 2),
        (("migrate",), 2),
        (("rollback", "--yes"), 2),
    ],
)
async def test_a_tracker_that_is_not_reached_leaves_a_failed_run(backed_up, words, side):
    config, root = backed_up[0], backed_up[0].parent / "archive"
    before = rows(root, "SELECT count(*) FROM runs")[0][0]
    config.write_text(config.read_text().replace(backed_up[side], NOWHERE))
    if words == ("restore",):  # it asks first whether the archive is that of the source
        with closing(Catalog(root)) as catalog:
            catalog.settings.set("source", f"targetprocess {NOWHERE}")
    command, *options = words
    finished = await run("--json", command, config, *options)
    assert finished.code == 4, finished
    name = " ".join(words) if "--dry-run" in words else command
    assert last_run(root) == (name, "failed", finished.document["error"])
    assert rows(root, "SELECT count(*) FROM runs")[0][0] == before + 1
    verified = await run("verify", root)
    assert verified.code == 0, verified


async def test_status_says_since_when_and_why_the_last_runs_failed(backed_up):
    config, root = backed_up[0], backed_up[0].parent / "archive"
    config.write_text(config.read_text().replace(backed_up[1], NOWHERE))
    await run("backup", config)
    once = (await run("status", root)).out.splitlines()[0]
    assert "; the last backup failed: " in once
    await run("backup", config)
    await run("backup", config)
    first = (await run("status", root)).out.splitlines()[0]
    assert first.startswith("the backup needs a look: ")
    assert "; the last 3 runs failed since 20" in first
    assert last_run(root)[2]["message"] in first
    config.write_text(config.read_text().replace(NOWHERE, backed_up[1]))
    assert (await run("backup", config)).code == 0
    assert (await run("status", root)).out.startswith("the backup is fine: ")


async def test_a_first_backup_that_is_refused_leaves_no_archive(tmp_path):
    async with TargetprocessSandbox(WORLD) as source:
        config = configure(tmp_path, source, limits=LIMITS, source__options=SKIPPED)
        text = config.read_text()
        config.write_text(text.replace(source.url, NOWHERE))
        assert (await run("backup", config)).code == 4
        assert not (tmp_path / "archive").exists()
        config.write_text(text)
        assert (await run("backup", config)).code == 0


async def test_an_archive_that_another_run_holds_is_not_written(backed_up):
    config, root = backed_up[0], backed_up[0].parent / "archive"
    before = rows(root, "SELECT count(*) FROM runs")
    config.write_text(config.read_text().replace(backed_up[1], NOWHERE))
    with ArchiveLock(root, "backup"):
        assert (await run("backup", config)).code == 4
    assert rows(root, "SELECT count(*) FROM runs") == before
