"""How the folder of a machine gets in step with the journal in a bucket."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from obstore.store import MemoryStore

from migrator.errors import ArchiveDamagedError, ConfigError
from migrator.jobs import remote
from migrator.pipeline.backup import BackupSettings, backup
from migrator.pipeline.prune import Retention, prune
from migrator.pipeline.rebuild import rebuild
from migrator.pipeline.verify import verify
from migrator.store import Archive, Bucket, BucketAddress, Catalog, InStep
from migrator.store.catalog.pruning import Pruning
from migrator.store.journal import keeper
from migrator.store.objects.mirror import Mirror
from migrator.store.repair.auditing import audit
from migrator.trackers.memory import MemorySource
from tests.support.parts import rows, run_backup, small_tracker

URL = "memory://archive"


def mirror(store: MemoryStore, root: Path) -> Mirror:
    """The copies in the bucket of what a machine has."""
    root.mkdir(exist_ok=True)
    return Mirror(Bucket(URL, store), root, InStep(URL))


class KilledError(Exception):
    pass


def killed_at(number: int, call: Callable[..., None]) -> Callable[..., None]:
    """The call, which is killed in place of the first, second, ... time."""
    numbers = count(1)

    def calling(*args: Any, **named: Any) -> None:
        if next(numbers) == number:
            raise KilledError
        call(*args, **named)

    return calling


FILES = "SELECT attachment_id, name, sha256, status FROM attachments ORDER BY 1"


def ensure_journal(root: Path) -> None:
    """What a run does first."""
    with closing(Catalog(root)) as catalog:
        catalog.ensure_journal()


@pytest.mark.parametrize("end", ["no tables", "no journal", "a journal", "a recorded journal"])
async def test_a_machine_whose_first_run_never_began_takes_what_another_has_done(tmp_path, monkeypatch, end):
    store, here, there = MemoryStore(), tmp_path / "here", tmp_path / "there"
    mirror(store, here).fetch()
    mirror(store, there).fetch()
    with monkeypatch.context() as patched, suppress(KilledError):
        if end == "no tables":
            (here / "catalog.db").touch()
            raise KilledError
        number = {"no journal": 1, "a journal": 2, "a recorded journal": 3}[end]
        patched.setattr(keeper, "record_position", killed_at(number, keeper.record_position))
        ensure_journal(here)
    assert (here / "manifest.jsonl").exists() == end.startswith("a ")
    await run_backup(small_tracker(), there)
    mirror(store, there).send()
    mirror(store, here).fetch()
    ensure_journal(here)
    assert rows(here, FILES) == rows(there, FILES) != []


async def test_a_machine_that_was_killed_while_it_replaced_its_journal_goes_on(tmp_path, monkeypatch):
    """Another one replaced it by the same, and went on."""
    store, here, there, tracker = MemoryStore(), tmp_path / "here", tmp_path / "there", small_tracker()
    mirror(store, there).fetch()
    await run_backup(tracker, there)
    mirror(store, there).send()
    mirror(store, here).fetch()
    monkeypatch.setattr(keeper, "MIN_GROWTH_BYTES", -(10**9))  # every journal has outgrown its size
    with monkeypatch.context() as patched, suppress(KilledError):
        patched.setattr(keeper, "record_position", killed_at(2, keeper.record_position))
        ensure_journal(here)
    ensure_journal(there)
    assert (here / "manifest.jsonl").read_bytes() == (there / "manifest.jsonl").read_bytes()
    tracker.attach(next(iter(tracker.entities)), "new.txt", b"new")
    monkeypatch.setattr(keeper, "MIN_GROWTH_BYTES", 10**9)
    await run_backup(tracker, there)
    mirror(store, there).send()
    mirror(store, here).fetch()
    ensure_journal(here)
    assert rows(here, FILES) == rows(there, FILES)
    assert audit(here) == []


async def test_a_crawl_that_another_machine_has_gone_past_is_not_resumed(tmp_path):
    """Else what that one saw counts as not seen by this crawl, and thus as gone."""
    store, here, there, tracker = MemoryStore(), tmp_path / "here", tmp_path / "there", small_tracker(4)
    mirror(store, there).fetch()
    await run_backup(tracker, there)
    mirror(store, there).send()
    mirror(store, here).fetch()
    with closing(Catalog(here)) as catalog:
        catalog.ensure_journal()
        run = catalog.runs.begin("backup")
        crawl = catalog.crawl.begin(run, "[]")
        catalog.crawl.record_checkpoint(run, "listed", None)
    assert crawl.start == run
    mirror(store, here).send()
    mirror(store, there).fetch()
    tracker.attach(next(iter(tracker.entities)), "new.txt", b"new")
    await run_backup(tracker, there)
    mirror(store, there).send()
    mirror(store, here).fetch()
    assert rows(here, "SELECT * FROM checkpoints") == []
    ensure_journal(here)
    assert audit(here) == []
    summary = await run_backup(tracker, here)
    assert (summary["attachments"]["listed"], summary["attachments"]["gone"]) == (len(tracker.files), 0)


@pytest.mark.parametrize("ours", [True, False])
async def test_a_catalog_that_is_damaged_here_keeps_nobody_from_a_rebuild(tmp_path, ours):
    """The journal goes on; the catalog is named as damaged when it is opened, or made anew."""
    store, here, there, tracker = MemoryStore(), tmp_path / "here", tmp_path / "there", small_tracker(4)
    mirror(store, there).fetch()
    await run_backup(tracker, there)
    mirror(store, there).send()
    mirror(store, here).fetch()
    (here / "catalog.db").write_bytes(b"this is no catalog" * 1000)
    tracker.attach(next(iter(tracker.entities)), "new.txt", b"new")
    await run_backup(tracker, there)
    mirror(store, there).send()
    mirror(store, here).fetch(ours=ours)
    for damaged in (lambda: ensure_journal(here), mirror(store, here).send):
        with pytest.raises(ArchiveDamagedError, match="migrator rebuild"):
            damaged()
    archive = Archive(here)
    archive.prepare()
    rebuild(archive)
    names = "SELECT attachment_id, name FROM attachments ORDER BY 1"
    assert rows(here, names) == rows(there, names)


async def test_what_only_this_machine_has_done_is_not_given_up(tmp_path):
    store, here, there = MemoryStore(), tmp_path / "here", tmp_path / "there"
    mirror(store, here).fetch()
    mirror(store, there).fetch()
    await run_backup(small_tracker(2), here)
    await run_backup(small_tracker(), there)
    mirror(store, there).send()
    with pytest.raises(ConfigError, match="has changes that memory://archive lacks"):
        mirror(store, here).fetch()


async def test_a_prune_that_dies_leaves_no_snapshot_without_its_files(tmp_path, monkeypatch):
    """What a machine removes, the bucket's journal has forgotten, however little else of the run got there."""
    store, tracker = MemoryStore(), small_tracker(4)

    async def run(name: str, job: Callable[..., Any]) -> Any:
        place: Any = SimpleNamespace(
            folder=tmp_path / name,
            bucket=lambda: Bucket(URL, store),
            known=InStep(URL),
            encryption=None,
            address=BucketAddress(URL),
        )
        with remote.held_bucket(place, "test", create=True) as archive:
            if job is verify:
                return await verify(archive)
            with closing(Catalog(tmp_path / name)) as catalog:
                return await job(archive, catalog)

    def back_up(archive: Any, catalog: Catalog) -> Any:
        return backup(MemorySource(tracker), archive, catalog, BackupSettings(identity="memory"))

    await run("here", back_up)
    tracker.remove(next(id_ for id_, file in tracker.files.items() if file.name == "big 3.bin"))
    await run("here", back_up)
    with monkeypatch.context() as patched, suppress(KilledError):
        patched.setattr(Pruning, "record_deleted", killed_at(1, Pruning.record_deleted))
        patched.setattr(remote, "_send", killed_at(1, remote._send))
        await run("here", lambda archive, catalog: prune(archive, catalog, Retention(last=1)))
    verified = await run("there", verify)
    assert [each.code for each in verified.problems] == []
    assert rows(tmp_path / "there", "SELECT run_id FROM snapshots") == [(2,)]
