"""Answers made wrong: a value of the JSON or XML, the bytes, the headers, the status. Each change is drawn before the
answer is known, so a place in it is told by a number that is taken modulo the number of places."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from hypothesis import strategies as st

LOGIN = (
    b'<!DOCTYPE html>\n<html><head><title>Log in</title></head><body><form action="login.aspx"></form></body></html>'
)
BOMB = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]><x>&b;</x>'

STRINGS = [
    *("", " ", "x", "0", "-1", "7", "1.5", "1e400", "١٢", "１２", "²", "9" * 30, "\0", "\ud800", "a\ud800\udc00"),
    *("../../etc/passwd", "..%2f..", "/", "http://[", "http://127.0.0.1:1/x", "//elsewhere.invalid/x", "javascript:1"),
    *("/Date(99999999999999999)/", "/Date(0+9999)/", "/Date(-62135596800001)/", "/Date()/", "0000-00-00T00:00:00"),
    *("9999-12-31T23:59:59+00:00", "0001-01-01T00:00:00+14:00", "2024-02-30", "<html>", "x" * 70_000, "é" * 300),
    *("AttachmentDownload/1", "~/images/x.png", '"~/images/a%00b"', "Attachment.aspx?AttachmentID=999999999999999999"),
]
NUMBERS = [0, -1, 1, 2, 1.5, -0.0, 1e308, float("inf"), float("nan"), 2**31, 2**53 + 1, 2**62, 2**63, 2**64, 10**30]
ODD: list[Any] = [[], {}, [[]], [{}], [None], {"": None}, {"Id": None}, [1, "a"]]
VALUES: list[Any] = [None, True, False, *NUMBERS, *STRINGS, *ODD]

HEADERS = [
    *(
        ("Content-Type", kind)
        for kind in ("text/html", "", "application/json; charset=klingon", "/", ";;", 'a/b/c; ="')
    ),
    *(("Content-Encoding", coding) for coding in ("identity", "x-unknown", "")),
    *(("Retry-After", wait) for wait in ("", "-1", "1e999", "nan", "soon", "Mon, 99 Foo 0000 99:99:99 GMT", "9" * 400)),
    *(("Date", date) for date in ("", "yesterday", "Mon, 01 Jan 0001 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 -2359")),
    ("Date", "Mon, 01 Jan 0001 00:00:00 -0000"),
    ("Date", "Sat, 01 Jan 99999 00:00:00 GMT"),
    *(("Content-Disposition", told) for told in ("", "attachment", "attachment; filename*=x''%ff", ';"', "\u00e9")),
    *(
        ("Location", place)
        for place in ("", "/", "http://[", "http://:1/", "//", "ftp://x/", "/Login", "?a", "http://a b/")
    ),
    *(
        ("Location", place)
        for place in ("http://127.0.0.1:1/x", "https://127.0.0.1:99999/", "http://é/", "%", "x" * 7000)
    ),
    ("Set-Cookie", "=;=;;"),
    ("WWW-Authenticate", "WRAP \x7f"),
]
STATUSES = [*range(200, 207), 226, *range(300, 309), *range(400, 418), 422, 423, 425, 429, 431, *range(500, 505), 599]


@dataclass(frozen=True)
class Change:
    """One thing that is made wrong."""

    what: str
    at: int = 0
    value: Any = None


changes = st.one_of(
    st.builds(Change, st.just("set"), st.integers(0, 9999), st.sampled_from(VALUES)),
    st.builds(Change, st.sampled_from(["drop", "twice", "wrap", "empty", "rename"]), st.integers(0, 9999)),
    st.builds(Change, st.just("swap"), st.integers(0, 9999), st.integers(0, 9999)),
    st.builds(Change, st.just("text"), st.integers(0, 9999), st.text(max_size=12)),
    st.builds(Change, st.just("cut"), st.integers(0, 9999)),
    st.builds(Change, st.just("insert"), st.integers(0, 9999), st.binary(min_size=1, max_size=6)),
    st.builds(Change, st.just("append"), value=st.sampled_from([b"x", b"{}", b"\0", b"\xff", LOGIN, b"[" * 9])),
    st.builds(Change, st.just("body"), value=st.binary(max_size=20)),
    st.builds(
        Change,
        st.just("body"),
        value=st.sampled_from(
            [
                *(b"", b"null", b"[]", b"{}", b"0", b'""', b"NaN", LOGIN, b"\xef\xbb\xbf{}", b"\xff\xfe{\0}\0", BOMB),
                *(b"[" * 100_000, b"<a>" * 20_000, b'{"a":' * 50_000, b"9" * 5000, b"<x/>", b"<Items/>"),
            ]
        ),
    ),
    st.builds(Change, st.just("header"), value=st.sampled_from(HEADERS)),
    st.builds(Change, st.just("status"), value=st.sampled_from(STATUSES)),
    st.builds(Change, st.just("broken off"), st.integers(0, 9999)),
    st.builds(Change, st.just("dropped")),
)


def changed(answer: web.Response, change: Change) -> web.Response:
    """The answer, a little wrong; nobody sees the original any more."""
    body, headers, status = bytes(answer.body or b""), dict(answer.headers), answer.status
    headers.pop("Content-Length", None)
    if change.what == "header":
        headers[change.value[0]] = change.value[1]
    elif change.what == "status":
        status = change.value
    else:
        body = _changed_body(body, change)
    return web.Response(body=body, status=status, headers=headers)


def _changed_body(body: bytes, change: Change) -> bytes:
    at = change.at % (len(body) + 1)
    if change.what in {"cut", "insert", "append", "body"}:
        return {
            "cut": body[:at],
            "insert": body[:at] + (change.value or b"") + body[at:],
            "append": body + (change.value or b""),
            "body": change.value,
        }[change.what]
    try:
        value = json.loads(body)
    except ValueError:
        return _changed_xml(body, change)
    text = json.dumps(_changed_value(value, change))
    return text.encode()


def _changed_value(value: Any, change: Change) -> Any:
    """JSON with one of its places changed."""
    top = [deepcopy(value)]
    places = list(_places(top))
    holder, key = places[change.at % len(places)]
    here = holder[key]
    if change.what == "drop":
        del holder[key]
    elif change.what == "twice" and isinstance(holder, list):
        holder.append(deepcopy(here))
    elif change.what == "rename" and isinstance(holder, dict):
        holder[key.swapcase()] = holder.pop(key)
    elif change.what == "swap":
        other, there = places[change.value % len(places)]
        holder[key] = deepcopy(other[there])
    else:
        holder[key] = {"wrap": [here], "empty": type(here)() if here is not None else None}.get(
            change.what, change.value
        )
    return top[0] if top else None


def _places(holder: Any) -> Iterator[tuple[Any, Any]]:
    keys = list(holder) if isinstance(holder, dict) else range(len(holder))
    for key in keys:
        yield holder, key
        if isinstance(holder[key], dict | list):
            yield from _places(holder[key])


def _changed_xml(body: bytes, change: Change) -> bytes:
    """XML (or a form) with one of its texts or attributes changed."""
    text = body.decode("utf-8", "replace")
    found = list(re.finditer(r'(?<=>)[^<>]+(?=<)|(?<=")[^"<>]*(?=")|(?<==)[^&=]+', text))
    if not found:
        return body[: change.at % (len(body) + 1)]
    hit = found[change.at % len(found)]
    value = change.value if isinstance(change.value, str) else str(change.value)
    new = {"drop": "", "twice": hit[0] * 2}.get(change.what, value)
    return (text[: hit.start()] + new + text[hit.end() :]).encode("utf-8", "surrogatepass")


Changing = Callable[[web.Response], web.Response]
