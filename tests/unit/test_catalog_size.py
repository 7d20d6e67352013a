"""What is asked of a catalog costs by the answer, not by the number of rows that are done."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import pytest
from sqlite_utils import Database

from migrator.model import Attachment, Blob, Entity, EntityRef, Outcome, Status
from migrator.store.catalog import Catalog
from migrator.store.catalog.crawl import Crawl
from migrator.store.repair.auditing import audit

FAILED = 3


def fill(root: Path, count: int) -> Catalog:
    """So many stored files, each on an entity of its own, and a few that failed or could not be listed."""
    catalog = Catalog(root)
    run = catalog.runs.begin("backup")
    owners = [Entity(EntityRef("Bug", str(number)), raw="{}") for number in range(count)]
    files = [Attachment(owner.ref.id, owner.ref, "name", 1) for owner in owners]
    catalog.crawl.record_listing(run, owners, [(file, Status.PENDING) for file in files])
    fine, bad = files[FAILED:], files[:FAILED]
    outcomes = [Outcome(file, Status.STORED, Blob(f"{int(file.id):064x}", 1)) for file in fine]
    catalog.crawl.record_outcomes(run, [*outcomes, *(Outcome(file, Status.FAILED, error="why") for file in bad)])
    for owner in owners[:FAILED]:
        catalog.crawl.record_entity_error(run, owner, "refused")
    return catalog


ASKED = {
    "what failed": lambda catalog: catalog.summaries.failures(1),
    "what is missing": lambda catalog: catalog.crawl.unfinished(Crawl(1, {})),
    "whose files could not be listed": lambda catalog: catalog.crawl.failed_entities(Crawl(1, {})),
    "which blobs are lost": lambda catalog: catalog.blobs.damaged(),
    "which uploads failed": lambda catalog: catalog.summaries.upload_failures(),
    "a crawl that resumes": lambda catalog: catalog.crawl.begin(1, "[]").cursors,
}


def steps(catalog: Catalog, ask: object) -> int:
    """How many steps SQLite takes for the answer."""
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    catalog.db.conn.set_progress_handler(step, 1)
    ask(catalog)
    catalog.db.conn.set_progress_handler(None, 1)
    return count


@pytest.mark.parametrize("what", ASKED)
def test_a_question_costs_the_same_however_many_files_are_done(tmp_path, what):
    costs = []
    for count in (50, 1_000):
        root = tmp_path / str(count)
        root.mkdir()
        catalog = fill(root, count)
        catalog.crawl.begin(1, "[]")
        costs.append(steps(catalog, ASKED[what]))
        catalog.close()
    assert costs[0] > 0
    assert costs[1] <= costs[0] + 20


def test_failures_and_counts_are_told_of_all_rows(tmp_path):
    catalog = fill(tmp_path, 50)
    assert len(catalog.summaries.failures(1)) == 2 * FAILED
    assert catalog.summaries.totals()["attachments"] == {"failed": FAILED, "stored": 47}
    assert catalog.summaries.backup_counts(1, 1)["stored"] == 47
    later = catalog.summaries.backup_counts(1, 2)
    assert (later["stored"], later["unchanged"], later["failed"], later["listed"]) == (0, 47, FAILED, 50)
    assert catalog.summaries.backup_counts(2, 2)["listed"] == 0
    catalog.close()


def listed(catalog: Catalog, run: int, count: int) -> set[str]:
    """What is wanted of a page of so many files, whose outcomes are recorded then."""
    owner = Entity(EntityRef("Bug", "1"), raw="{}")
    files = [Attachment(str(number), owner.ref, f"{number}.txt", 1) for number in range(count)]
    wanted = catalog.crawl.record_listing(run, [owner], [(file, Status.PENDING) for file in files])
    stored = [Outcome(file, Status.STORED, Blob(f"{int(file.id):064x}", 1)) for file in files]
    catalog.crawl.record_outcomes(run, stored)
    return wanted


def test_a_page_is_as_many_statements_however_many_files_are_on_it(tmp_path):
    counts = []
    for size in (10, 60):
        root = tmp_path / str(size)
        root.mkdir()
        catalog, told = Catalog(root), list[str]()
        catalog.ensure_journal()
        run = catalog.runs.begin("backup")
        catalog.db.conn.set_trace_callback(told.append)
        listed(catalog, run, size)
        catalog.db.conn.set_trace_callback(None)
        catalog.close()
        counts.append(len([*groupby(told)]))  # each row that a trigger notes tells the statement once more
    assert counts[1] == counts[0]


@pytest.mark.parametrize("count", [1, 2, 3, 500, 512, 513, 1025])
def test_every_file_of_a_page_is_recorded_whatever_its_length(tmp_path, count):
    catalog = Catalog(tmp_path)
    catalog.ensure_journal()
    run = catalog.runs.begin("backup")
    assert listed(catalog, run, count) == {str(number) for number in range(count)}
    assert catalog.summaries.totals()["attachments"] == {"stored": count}
    assert catalog.summaries.totals()["blobs"]["count"] == count
    assert catalog.entities.count() == 1
    run = catalog.runs.begin("backup")
    crawl = catalog.crawl.begin(run, "[]")
    assert listed(catalog, run, count) == set()
    catalog.crawl.end(crawl)
    catalog.close()
    assert audit(tmp_path) == []  # the manifest tells of each, too


def test_a_catalog_opens_and_writes_though_somebody_keeps_every_cursor(tmp_path, monkeypatch):
    kept, execute = [], Database.execute
    monkeypatch.setattr(Database, "execute", lambda self, *args: kept.append(execute(self, *args)) or kept[-1])
    for run in (1, 2):
        catalog = Catalog(tmp_path)
        catalog.ensure_journal()
        assert catalog.runs.begin("backup") == run
        kept.clear()
        catalog.close()
