"""One item that fails each time fails by itself; a server that is away is no item's failure."""

from __future__ import annotations

import pytest

from migrator.errors import ConnectError, RetriableError, ThrottledError
from migrator.trackers.failed_attempts import FailedAttempts

BROKEN = RetriableError("status 500", status=500)


def test_a_failure_is_final_once_it_came_as_often_as_the_limit():
    attempts = FailedAttempts(3)
    assert [attempts.is_final("a", BROKEN) for _ in range(4)] == [False, False, True, True]
    assert not attempts.is_final("b", BROKEN)


def test_an_item_that_was_read_begins_anew():
    attempts = FailedAttempts(2)
    attempts.is_final("a", BROKEN)
    attempts.forget("a")
    attempts.forget("never failed")
    assert not attempts.is_final("a", BROKEN)


@pytest.mark.parametrize("error", [ConnectError("away"), ThrottledError("later")])
def test_a_server_that_is_away_or_asks_for_patience_is_no_final_failure(error):
    attempts = FailedAttempts(1)
    assert not attempts.is_final("a", error)
    assert attempts.is_final("a", BROKEN)
