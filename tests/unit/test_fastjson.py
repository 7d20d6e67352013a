"""JSON of trackers is read as Python's own `json` reads it, and what was read is written as JSON that says the same."""

import contextlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.wire.json_codec import read_json, written_json

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
        (b"\xef\xbb\xbf\xef\xbb\xbf[1]", [1]),
        (b'"a\nb\x00\x1f"', "a\nb\x00\x1f"),
        (b"[1, 2, ]", [1, 2]),
        (b'{"a": [1,\n], }', {"a": [1]}),
        (b'["a, ]", 1,]', ["a, ]", 1]),
        (rb'["C:\Users\x", "don\'t"]', ["C:\\Users\\x", "don't"]),
        (b"[" + b"9" * 5000 + b", 1]", [None, 1]),
    ],
)
def test_what_the_fast_library_refuses_is_read_all_the_same(body, value):
    lost = []
    assert read_json(body, replaced=lost.append) == value
    assert bool(lost) is ("\ufffd" in repr(value))


@pytest.mark.parametrize(
    ("body", "charset", "value", "lost"),
    [
        (b'"Gr\xfc\xdfe"', "", "Gr\ufffd\ufffde", [2]),
        (b'"Gr\xfc\xdfe"', "iso-8859-1", "Grüße", []),
        (b'"Gr\xfc\xdfe"', "no such charset", "Gr\ufffd\ufffde", [2]),
        (b'"Gr\xfc\xdfe"', "undefined", "Gr\ufffd\ufffde", [2]),
        ("Grüße".encode().join([b'"', b'\xc3"']), "iso-8859-1", "Grüße\ufffd", [1]),
        (b'"\xc3"', "utf-8", "\ufffd", [1]),
        (b'"\xef\xbf\xbd\xff"', "", "\ufffd\ufffd", [1]),
        (rb'["\ud83d", "\u12"]', "", ["\ufffd\ufffd\ufffd", "\ufffd12"], [2]),
    ],
)
def test_what_is_no_text_is_replaced_and_counted(body, charset, value, lost):
    told = []
    assert read_json(body, charset, told.append) == value
    assert told == lost


def test_good_answer_has_nothing_replaced_though_it_holds_such_a_character():
    told = []
    assert read_json('["\ufffd", "ü"]'.encode(), "", told.append) == ["\ufffd", "ü"]
    assert told == []


@given(st.binary())
def test_any_bytes_are_json_or_an_error_that_callers_know(body):
    with contextlib.suppress(ValueError, RecursionError):
        written_json(read_json(body))


@given(JSON, st.integers(0, 200), st.binary(min_size=1, max_size=3))
def test_one_bad_spot_in_a_text_costs_nothing_else(value, at, dirt):
    if {dirt[0], dirt[-1]} & set(b'"\\'):
        return
    body = json.dumps(["x" * 200, value], ensure_ascii=False).encode()
    read = read_json(body[: 2 + at] + dirt.replace(b'"', b"").replace(b"\\", b"") + body[2 + at :])
    assert read[1] == value


@pytest.mark.parametrize("opening", ['"' + '\\"' * 10**6, "," * 10**6, "[" + ", " * 10**6, '"\\u' * 10**5])
def test_reading_what_is_no_json_at_all_takes_no_long_time(opening):
    with pytest.raises(json.JSONDecodeError):
        read_json(opening.encode())


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"a": 1', b'"a', b"1 2", b"[" * 100_000])
def test_what_is_no_json_is_an_error_that_callers_know(body):
    with pytest.raises((ValueError, RecursionError)):
        read_json(body)


def test_half_a_character_and_no_number_are_written_as_text_that_is_json():
    assert json.loads(written_json({"\udc00": "a\ud800"})) == {"?": "a?"}
    assert written_json([math.nan, math.inf]) == "[null,null]"
