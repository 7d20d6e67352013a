"""What an answer means, for any answer at all."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator import errors
from migrator.ports import BodyFacts
from migrator.sniffing import is_error_page, looks_like_html, looks_like_login
from migrator.wire.status import error_for_status, error_reason, retry_after

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.sampled_from(["Message", "message", "errors", "error", "title", "x"]) | st.text(), inner)
    ),
    max_leaves=20,
)


@given(st.text())
def test_retry_after_is_seconds_or_nothing_for_any_text(value):
    seconds = retry_after({"Retry-After": value})
    assert seconds is None or 0 <= seconds <= 86_400


@given(st.datetimes())
def test_retry_after_is_seconds_for_any_date(when):
    seconds = retry_after({"Retry-After": when.strftime("%a, %d %b %Y %H:%M:%S GMT")})
    assert seconds is None or 0 <= seconds <= 86_400


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 1.5 ", 1.5),
        ("-5", 0),
        ("nan", 0),
        ("inf", 86_400),
        ("1e9", 86_400),
        ("Wed, 01 May 2024 12:01:00 GMT", 60),
        ("Wed, 01 May 2024 14:01:00 +0200", 60),
        ("Wed, 01 May 2024 12:01:00 -0000", 60),
        ("Wednesday, 01-May-24 12:01:00 GMT", 60),
        ("Wed, 01 May 2024 11:00:00 GMT", 0),
        ("later", None),
        ("", None),
    ],
)
def test_retry_after_is_understood(value, seconds):
    now = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
    assert retry_after({"Retry-After": value}, now) == seconds
    assert retry_after({}, now) is None


@given(st.binary())
def test_reason_is_one_short_line_for_any_bytes(body):
    reason = error_reason(body)
    assert len(reason) <= 300
    assert "\n" not in reason


@given(JSON)
def test_reason_is_one_short_line_for_any_json(value):
    reason = error_reason(json.dumps(value).encode())
    assert len(reason) <= 300
    assert "\n" not in reason


@given(st.integers(1, 100_000), st.sampled_from([b"[", b'{"error":', b'{"errors":[']))
def test_reason_bears_any_depth(depth, opening):
    assert isinstance(error_reason(opening * depth), str)
    closing = {b"[": b"]", b'{"error":': b"}", b'{"errors":[': b"]}"}[opening]
    assert isinstance(error_reason(opening * depth + (b"" if opening != b'{"error":' else b"1") + closing * depth), str)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"errors":["Subject cannot be blank","Tracker is invalid"]}', "Subject cannot be blank; Tracker is invalid"),
        (b'{"error":{"status":400,"msg":"Required Header Missing"}}', "Required Header Missing"),
        (b'{"detail":"Invalid page."}', "Invalid page."),
        (b'{"Message":"No such\\n entity"}', "No such entity"),
        (b'{"error":{"message":"bad","code":5}}', "bad"),
        (b'{"title":"Not Found","status":404}', "Not Found"),
        (b"<Error><Message>Not there</Message></Error>", "Not there"),
        (b"<html><head><title>Runtime Error</title></head></html>", "Runtime Error"),
        (b'"quoted"', "quoted"),
        (b"null", ""),
        (b"", ""),
        (b"plain text", ""),
        (b'"cut \\ud83d"', "cut ?"),
        (b"\xff\xfe", ""),
    ],
)
def test_reason_is_the_sentence_for_people(body, reason):
    assert error_reason(body) == reason


@given(st.integers(400, 599), st.binary(), st.text())
def test_every_status_is_an_error_of_ours(status, body, value):
    assert isinstance(error_for_status(status, {"Retry-After": value}, "GET a", body), errors.MigratorError)


@given(st.text())
def test_any_location_is_a_login_page_or_not(location):
    assert looks_like_login(location) in {True, False}


@pytest.mark.parametrize(
    "head",
    [
        b"<!DOCTYPE html>",
        b"<!doctype HTML PUBLIC>",
        b"<html>",
        b"\xef\xbb\xbf<html lang=en>",
        b" \r\n\t<HTML>",
        b"<!-- a --><!-- b -->\n<html>",
        b"<head><title>",
        b"<body>",
    ],
)
def test_pages_are_recognised(head):
    assert looks_like_html(head)
    assert is_error_page(BodyFacts("text/html"), head, html_expected=False)
    assert not is_error_page(BodyFacts("text/html"), head, html_expected=True)
    assert not is_error_page(BodyFacts("text/html", named=True), head, html_expected=False)
    assert not is_error_page(BodyFacts("application/octet-stream"), head, html_expected=False)


@pytest.mark.parametrize(
    "head", [b"", b"plain", b"<svg>", b"<?xml version='1.0'?><html>", b"<htmlx>", b"see <html>", b"PK\3\4"]
)
def test_other_files_are_no_pages(head):
    assert not looks_like_html(head)


@given(st.binary(max_size=2000))
def test_recognising_pages_bears_any_bytes(head):
    assert looks_like_html(head) in {True, False}
