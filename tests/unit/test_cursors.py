"""A listing that changes while it is read: nothing that was there all the time is missed."""

import json

from hypothesis import given
from hypothesis import strategies as st

from migrator.trackers.cursors import Keyset, Offset, mode_of

IDS = st.lists(st.integers(1, 60), unique=True, max_size=50)
CHANGES = st.lists(st.tuples(st.sampled_from(["add", "remove"]), st.integers(1, 120)), max_size=60)


def crawl(present: set[int], changes: list[tuple[str, int]], page_size: int, cap: int) -> tuple[set[int], set[int]]:
    """Read by offset while items come and go; gives what was seen, and what was there all the time."""
    always, seen, cursor, steps = set(present), set(), None, 0
    pending = list(changes)
    while True:
        steps += 1
        assert steps < 1000, "the listing never ends"
        state = Offset.parse(cursor)
        ids = sorted(present)[state.skip : state.skip + min(page_size, cap)]
        seen.update(ids)
        cursor = state.next_cursor(ids, page_size)
        if cursor is None:
            return seen, always
        if pending:
            what, item = pending.pop()
            if what == "add":
                present.add(item)
            else:
                present.discard(item)
                always.discard(item)


@given(IDS, CHANGES, st.integers(2, 10), st.integers(2, 10))
def test_offset_listing_misses_nothing_that_was_there_all_the_time(ids, changes, page_size, cap):
    seen, always = crawl(set(ids), changes, page_size, cap)
    assert always <= seen


@given(IDS, st.integers(2, 10))
def test_offset_listing_of_a_quiet_tracker_is_complete(ids, page_size):
    seen, _ = crawl(set(ids), [], page_size, page_size)
    assert seen == set(ids)


def test_offset_goes_back_when_its_anchor_was_deleted():
    cursor = Offset(offset=4, anchor=4, seen=4).next_cursor([6, 7], page_size=3)
    assert json.loads(cursor) == {"offset": 0, "anchor": 4, "back": 1, "lost": 1, "far": 4, "seen": 4}


def test_offset_counts_each_item_once_however_far_it_goes_back():
    ids, state = [2, 4, 6, 8], Offset(offset=2, anchor=4, backtracking=True, seen=2, total=4)
    assert state.seen_with(ids) == 4
    assert Offset.parse(state.next_cursor(ids, 4)).seen == 4
    assert Offset(0, 4, backtracking=True, seen=2).seen_with(ids) == 4
    assert Offset(2, 4, seen=None).seen_with(ids) is None  # of a version that did not count


def test_keyset_ends_when_nothing_new_comes():
    assert Keyset.parse(None).next_cursor([3, 9]) == '{"after": 9, "seen": 2}'
    assert Keyset.parse('{"after": 9, "seen": 2}').next_cursor([12]) == '{"after": 12, "seen": 3}'
    assert Keyset.parse('{"after": 9}').next_cursor([12]) == '{"after": 12}'  # of a version that did not count
    assert Keyset(9).next_cursor([]) is None
    assert Keyset(9).next_cursor([9]) is None


def test_a_cursor_tells_which_mode_wrote_it():
    assert mode_of(None) is None
    assert mode_of('{"after": 9}') is Keyset
    assert mode_of(Offset().next_cursor([1], 1)) is Offset
