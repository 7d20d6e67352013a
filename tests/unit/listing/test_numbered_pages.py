"""Pages by number for a walk by offset."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from migrator.trackers.listing import FAR_OFFSET, PageRequest
from migrator.trackers.numbered_pages import numbered_page


@given(st.integers(2, 200), st.integers(0, 100_000) | st.just(FAR_OFFSET))
def test_the_page_holds_all_that_is_requested(take, skip):
    page = numbered_page(PageRequest(take, skip=skip))
    assert (page.number - 1) * page.size + page.before == skip
    assert page.size - page.before >= take


@given(st.integers(50, 200), st.integers(0, 100_000))
def test_the_page_is_less_than_twice_as_large_as_requested(take, skip):
    assert numbered_page(PageRequest(take, skip=skip)).size < 2 * take


def test_a_walk_starts_with_the_first_page_of_its_own_size():
    assert numbered_page(PageRequest(100)) == (1, 100, 0)
