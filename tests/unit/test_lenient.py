"""What a tracker sends may be of any type; reading it never fails."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.trackers.lenient import as_object, as_objects, integer, text

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(JSON)
def test_anything_can_be_read_as_any_type(value):
    assert isinstance(text(value), str)
    assert integer(value) is None or isinstance(integer(value), int)
    assert isinstance(as_object(value), dict)
    assert all(isinstance(item, dict) for item in as_objects(value))


def test_half_a_surrogate_pair_is_mended_and_a_whole_one_kept():
    assert text(json.loads('"a\\ud800b"')) == "a?b"
    assert text(json.loads('"\\ud83d\\ude00 ü"')) == "😀 ü"


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (7, 7),
        ("7", 7),
        (" 47616\n", 47616),
        ("-1", -1),
        (True, None),
        ("7.0", None),
        ("٣", None),
        (7.0, 7),
        (7.5, None),
        (float("nan"), None),
        (-0.0, 0),
        (1e300, None),
    ],
)
def test_whole_numbers_come_as_numbers_or_as_text(value, number):
    assert integer(value) == number


def test_objects_of_a_list_are_kept_and_all_else_is_left_out():
    assert as_objects([{"a": 1}, 7, None, {}]) == [{"a": 1}, {}]
