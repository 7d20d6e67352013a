"""JSON of trackers is read as Python's own `json` reads it, and what was read is written as JSON that says the same."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.fastjson import read_json, written_json

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=10,
)


@given(JSON, st.booleans())
def test_an_answer_is_read_as_it_was_meant_and_what_was_read_is_written_so(value, ascii_only):
    read = read_json(json.dumps(value, ensure_ascii=ascii_only).encode())
    assert (read, repr(read)) == (value, repr(value))  # 1, 1.0 and True are equal
    assert json.loads(written_json(read)) == value


@pytest.mark.parametrize("number", [2**63, 2**64, -(10**40)])
def test_a_whole_number_of_any_size_keeps_its_digits(number):
    assert written_json(read_json(str(number).encode())) == str(number)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        ('["ü"]'.encode("utf-16"), ["ü"]),
        (rb'"a\ud800b"', "a\ufffd\ufffd\ufffdb"),
        (rb'{"\udc00": "\ud83d\ude00"}', {"\ufffd\ufffd\ufffd": "😀"}),
        (b'"\xed\xa0\x80"', "\ufffd\ufffd\ufffd"),
        (b"[1e999]", [math.inf]),
    ],
)
def test_what_the_fast_library_refuses_is_read_all_the_same(body, value):
    assert read_json(body) == value


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"a": 1', b"[1,]", b'"a\nb"', b'"\xff"', b"1 2", b"[" * 100_000])
def test_what_is_no_json_is_an_error_that_callers_know(body):
    with pytest.raises((ValueError, RecursionError)):
        read_json(body)


def test_half_a_character_and_no_number_are_written_as_text_that_is_json():
    assert json.loads(written_json({"\udc00": "a\ud800"})) == {"?": "a?"}
    assert written_json([math.nan, math.inf]) == "[null,null]"
