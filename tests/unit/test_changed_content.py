"""The rule on changed content: what it says, and that its two spellings agree."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from itertools import product

import pytest

from migrator.dates import same_moment
from migrator.model import Attachment, EntityRef, Status
from migrator.store import Catalog
from migrator.store.catalog.changed_content import NEW_CONTENT, is_content_changed
from tests.support.parts import rows

SIZES = (None, 1, 2)
DATES = ("", "2024-01-31T10:00:00Z", "2024-01-31T11:00:00+01:00", "2024-02-01T10:00:00Z")
LISTINGS = [*product(SIZES, DATES)]


def attachment(size, created_at):
    return Attachment("1", EntityRef("Bug", "1"), "x", size, created_at=created_at)


@pytest.fixture(scope="module")
def in_sql():
    db = sqlite3.connect(":memory:")
    db.create_function("same_moment", 2, same_moment)
    statement = (
        f"SELECT (SELECT {NEW_CONTENT} FROM (SELECT ? AS size, ? AS created_at)) "
        "FROM (SELECT ? AS size, ? AS created_at) AS excluded"
    )
    yield lambda before, listed: bool(db.execute(statement, [*before, *listed]).fetchone()[0])
    db.close()


@pytest.mark.parametrize("before", LISTINGS)
@pytest.mark.parametrize("listed", LISTINGS)
def test_both_spellings_say_the_same(in_sql, before, listed):
    assert in_sql(before, listed) == is_content_changed(attachment(*before), attachment(*listed))


@pytest.mark.parametrize(
    ("before", "listed", "changed"),
    [
        ((1, DATES[1]), (1, DATES[1]), False),
        ((1, DATES[1]), (2, DATES[1]), True),
        ((1, DATES[1]), (1, DATES[3]), True),
        ((1, DATES[1]), (1, DATES[2]), False),
        ((1, DATES[1]), (None, ""), False),
        ((None, DATES[1]), (2, DATES[1]), False),
        ((1, ""), (1, DATES[1]), True),
    ],
)
def test_another_size_or_date_is_another_content_and_silence_is_not(before, listed, changed):
    assert is_content_changed(attachment(*before), attachment(*listed)) is changed


def test_the_first_of_two_listings_in_one_crawl_is_kept_in_any_run(tmp_path):
    first = replace(attachment(1, ""), raw='{"listed": "with its entity"}')
    second = replace(first, raw='{"listed": "by its entity"}')
    kept = []
    with closing(Catalog(tmp_path)) as catalog:
        for listings, ends in ([first], False), ([second], False), ([second], True), ([second, first], True):
            run = catalog.runs.begin("backup")  # the one before was killed, if its crawl has not ended
            crawl = catalog.crawl.begin(run, "[]")
            for file in listings:
                catalog.crawl.record_listing(run, [], [(file, Status.PENDING)])
            kept += [raw for (raw,) in rows(tmp_path, "SELECT raw FROM attachments")]
            if ends:
                catalog.crawl.end(crawl)
    assert kept == [first.raw, first.raw, first.raw, second.raw]
