"""The rule on changed content: what it says, and that its two spellings agree."""

from __future__ import annotations

import sqlite3
from itertools import product

import pytest

from migrator.dates import same_moment
from migrator.model import Attachment, EntityRef
from migrator.store.catalog.changed_content import NEW_CONTENT, is_content_changed

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
