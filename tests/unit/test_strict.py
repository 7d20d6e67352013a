"""What an answer must have: missing, it ends in an error of ours, and for an item of a list in one failure."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.errors import GoneError, UnexpectedBodyError
from migrator.model import EntityRef, Unread
from migrator.trackers.strict import digits, list_in, number_in, numbered, object_in, objects_in, split

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["id", "a"]), inner),
    max_leaves=10,
)


@given(JSON, st.sampled_from([None, "a"]))
def test_anything_is_what_it_must_be_or_an_error_of_ours(value, key):
    for reads, kind in ((object_in, dict), (list_in, list), (objects_in, list)):
        with contextlib.suppress(UnexpectedBodyError):
            assert isinstance(reads(value, key), kind)
    with contextlib.suppress(UnexpectedBodyError):
        assert number_in(value) >= 0


@given(st.lists(JSON))
def test_each_item_of_a_list_is_read_or_one_failure(items):
    try:
        good, unread = split(items, numbered, "GET items")
    except UnexpectedBodyError:
        assert len(items) > 1
    else:
        assert len(good) + len(unread) == len(items)
        assert all(number_in(item) >= 0 for item in good)


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (None, "it is not a JSON object"),
        ("<html>", "it is not a JSON object"),
        ({}, "an item of the answer has no id"),
        ({"id": "x"}, "an item of the answer has no id"),
        ({"id": -1}, "an item of the answer has no id"),
    ],
)
def test_failure_of_one_item_names_path_and_position(item, reason):
    good, unread = split([{"id": 1}, item, {"id": "3"}], number_in, "issues.json", "Issue")
    assert good == [1, 3]
    told = f"issues.json: item 2 of 3 can't be read: {reason}"
    assert unread == (Unread(EntityRef("Issue", "issues.json"), told),)


def test_id_that_leads_elsewhere_costs_its_item_alone():
    good, unread = split([{"id": "7"}, {"id": "../7"}], lambda item: digits(item["id"]), "items")
    assert (good, len(unread)) == (["7"], 1)
    with pytest.raises(GoneError):
        digits("../7")


def test_list_of_which_nothing_can_be_read_is_no_list_of_items():
    with pytest.raises(UnexpectedBodyError, match="item 1 of 2 can't be read"):
        split([{"key": 1}, {"key": 2}], number_in, "items")


def test_empty_list_has_nothing_that_cannot_be_read():
    assert split([], number_in, "items") == ([], ())


def test_a_bug_is_no_unreadable_item():
    with pytest.raises(KeyError):
        split([{"id": 1}], lambda item: item["name"], "items")
