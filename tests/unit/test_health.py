"""Is the backup fine? The answer of `status`, by what the catalog remembers."""

from __future__ import annotations

import io
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from migrator.errors import RejectedError
from migrator.jobs.text import summary_text
from migrator.pipeline.accept import Choice, accept
from migrator.pipeline.condition import condition
from migrator.pipeline.snapshots import view_at
from migrator.pipeline.verify import Portion
from migrator.selection import Selection
from migrator.store.catalog import Catalog
from migrator.trackers.memory import MemoryTracker
from tests.support.parts import rows, run_backup, run_load, run_verify, small_tracker, twin_of


def health(root, at: str = ""):
    with closing(Catalog(root, read_only=True)) as catalog:
        view_at(catalog, at)
        return condition(catalog, root).as_json().get("health")


def aged(root, days: float) -> None:
    """Make everything that is recorded older, in catalog and manifest alike."""
    with closing(Catalog(root)) as catalog:
        catalog.ensure_journal()
        with catalog._database.transaction():
            for table, column in (("runs", "started_at"), ("runs", "ended_at"), ("snapshots", "at")):
                for run, text in catalog.db.execute(f"SELECT run_id, {column} FROM {table}").fetchall():
                    older = (datetime.fromisoformat(text) - timedelta(days=days)).isoformat()
                    catalog.db.execute(f"UPDATE {table} SET {column} = ? WHERE run_id = ?", [older, run])


def failing(tracker: MemoryTracker, *struck: str) -> None:
    async def on_call(verb: str, about: str) -> None:
        if verb == "download" and about in struck:
            raise RejectedError("not tonight")

    tracker.on_call = on_call


def big(tracker: MemoryTracker, number: int) -> str:
    return next(file.id for file in tracker.files.values() if file.name == f"big {number}.bin")


async def test_a_complete_backup_of_last_night_is_fine(tmp_path):
    await run_backup(small_tracker(), tmp_path)
    aged(tmp_path, 17 / 24)
    found = health(tmp_path)
    assert found["answer"] == "the backup is fine: last complete one 17 h ago (run 1); nothing fails; never verified"
    assert (found["verdict"], found["snapshot"], found["failing"]) == ("fine", 1, 0)
    assert found["snapshot_at"] == rows(tmp_path, "SELECT at FROM snapshots")[0][0]
    assert 17 * 3600 <= found["age_seconds"] < 17.1 * 3600
    assert (found["failing_since"], found["verified_at"], found["verified_whole"]) == (None, None, None)


async def test_without_a_complete_backup_it_is_not_fine(tmp_path):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path, selection=Selection(limit=2))
    found = health(tmp_path)
    assert (found["verdict"], found["snapshot"], found["age_seconds"]) == ("bad", None, None)
    assert found["answer"].startswith("the backup is not fine: there is no complete one yet; nothing fails")


@pytest.mark.parametrize(
    ("interval", "age", "verdict"),
    [(1, 2, "fine"), (1, 3, "warning"), (1, 8, "bad"), (30, 40, "fine"), (30, 80, "warning"), (1 / 24, 2, "fine")],
)
async def test_how_old_a_backup_may_be_depends_on_how_often_there_was_one(tmp_path, interval, age, verdict):
    for _ in range(4):
        await run_backup(small_tracker(), tmp_path)
        aged(tmp_path, interval)
    await run_verify(tmp_path)
    aged(tmp_path, age - interval)
    assert health(tmp_path)["verdict"] == verdict


async def test_a_failure_is_told_since_when_it_stands(tmp_path):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    first, second = big(tracker, 7), big(tracker, 8)
    for changed, struck in ((first, {first}), (second, {first, second}), (None, {second}), (None, {second})):
        if changed:
            tracker.files[changed] = replace(tracker.files[changed], created_at="2026-01-01T00:00:00Z")
        failing(tracker, *struck)
        aged(tmp_path, 1)
        assert (await run_backup(tracker, tmp_path))["status"] == "incomplete"
    found = health(tmp_path)
    began = rows(tmp_path, "SELECT started_at FROM runs WHERE run_id = 3")[0][0]
    assert (found["verdict"], found["failing"], found["failing_since"]) == ("warning", 1, began)
    local = datetime.fromisoformat(began).astimezone()
    assert f"; 1 failure since {local:%Y-%m-%d %H:%M %Z}; " in found["answer"]
    with closing(Catalog(tmp_path)) as catalog:
        accept(catalog, Choice(everything=True))
    found = health(tmp_path)
    assert (found["failing"], found["failing_since"]) == (0, None)
    assert "nothing fails; 1 failure accepted" in found["answer"]


async def test_a_backup_that_broke_off_is_told_of(tmp_path):
    await run_backup(small_tracker(), tmp_path)
    for status, said in (("failed", "failed"), ("interrupted", "was interrupted"), ("running", "was killed")):
        with closing(Catalog(tmp_path)) as catalog:
            catalog.db.execute("UPDATE runs SET status = ? WHERE run_id = (SELECT max(run_id) FROM runs)", [status])
        found = health(tmp_path)
        assert found["verdict"] == "warning"
        assert f"; the last backup {said}; " in found["answer"]


async def test_uploads_that_did_not_arrive_are_told_apart(tmp_path):
    tracker = small_tracker()
    await run_backup(tracker, tmp_path)
    target, mapping = twin_of(tracker)
    await run_load(target, tmp_path, mapping)
    with closing(Catalog(tmp_path)) as catalog:
        catalog.db.execute("UPDATE uploads SET status = 'failed', error = 'no' WHERE rowid IN (1, 2)")
    found = health(tmp_path)
    assert (found["verdict"], found["failing"], found["failing_since"]) == ("warning", 2, None)
    assert "; 2 uploads not arrived; " in found["answer"]


async def test_when_it_was_verified_is_told_whole_or_in_part(tmp_path):
    await run_backup(small_tracker(), tmp_path)
    await run_verify(tmp_path, Portion(share=0.3))
    aged(tmp_path, 5)
    found = health(tmp_path)
    assert (found["answer"].rpartition("; ")[2], found["verified_whole"]) == ("a part verified 5 days ago", False)
    await run_verify(tmp_path)
    await run_verify(tmp_path, Portion(share=0.3))
    aged(tmp_path, 3)
    found = health(tmp_path)
    assert (found["answer"].rpartition("; ")[2], found["verified_whole"]) == ("verified 3 days ago", True)
    assert found["verified_at"] == rows(tmp_path, "SELECT ended_at FROM runs WHERE run_id = 3")[0][0]


async def test_an_archive_that_nobody_verifies_needs_a_look(tmp_path):
    await run_backup(small_tracker(), tmp_path)
    aged(tmp_path, 91)
    await run_backup(small_tracker(), tmp_path)
    assert health(tmp_path)["verdict"] == "warning"
    await run_verify(tmp_path, Portion(share=0.1))
    assert health(tmp_path)["verdict"] == "fine"


async def test_damage_comes_first(tmp_path):
    await run_backup(small_tracker(), tmp_path)
    [sha256] = rows(tmp_path, "SELECT sha256 FROM attachments WHERE name = 'big 7.bin'")[0]
    (tmp_path / "blobs" / sha256[:2] / sha256).unlink()
    await run_verify(tmp_path)
    found = health(tmp_path)
    assert found["verdict"] == "bad"
    assert found["answer"].startswith("the backup is not fine: the archive has 1 problem; last complete one ")


async def test_an_archive_of_before_there_were_snapshots_has_an_answer(tmp_path):
    await run_backup(small_tracker(), tmp_path)
    with closing(Catalog(tmp_path)) as catalog:
        for kind, name in (("VIEW", "history"), ("TABLE", "snapshots")):
            catalog.db.execute(f"DROP {kind} {name}")
        for table in ("accepted_failures", "failed_rechecks"):
            catalog.db.execute(f"DROP TABLE {table}")
    found = health(tmp_path)
    assert (found["verdict"], found["snapshot"]) == ("fine", 1)


async def test_an_earlier_snapshot_is_not_asked_how_the_backup_is(tmp_path):
    await run_backup(small_tracker(), tmp_path)
    assert health(tmp_path, "1") is None
    assert health(tmp_path)["snapshot"] == 1
    assert datetime.fromisoformat(health(tmp_path)["snapshot_at"]) <= datetime.now(UTC)


@pytest.mark.parametrize(("verdict", "colour"), [("fine", 32), ("warning", 33), ("bad", 31)])
async def test_the_answer_has_a_colour_on_a_terminal(tmp_path, monkeypatch, verdict, colour):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    await run_backup(small_tracker(), tmp_path)
    with closing(Catalog(tmp_path, read_only=True)) as catalog:
        summary = condition(catalog, tmp_path)
    summary = replace(summary, health=replace(summary.health, verdict=verdict))
    assert summary_text(summary).startswith(summary.health.answer)
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert summary_text(summary).startswith(f"\x1b[{colour}m{summary.health.answer}\x1b[0m")
