"""`migrator check --thorough` at each embedded tracker, made odd on the way: it says what is odd."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from migrator.sandbox import SANDBOXES, World
from tests.support.parts import FULL
from tests.support.program import configure, ended, start
from tests.support.recorded import Exchange, recording
from tests.system.test_thorough_cli import TARGETS, states

pytestmark = pytest.mark.timeout(200)
FILES = {
    "issuetrak": r"GET \S*/attachments/(\d+)/true",
    "redmine": r"GET \S*/attachments/download/(\d+)",
    "squash": r"GET \S*/attachments/(\d+)/content",
    "targetprocess": r"(?i)GET \S*/Attachment\.aspx\?AttachmentID=(\d+)",
    "teampulse": r"GET \S*/(\d+)/\w+/[^/]+$",
}
"""The requests for files, and the number of the file in them."""
LOGIN = '<!DOCTYPE html><title>Sign in</title><form action="/login"><input type="password" name="password"></form>'
NO_ID = "999999999"
WORLD = World.generate(entities=16, seed=3, attachments=9, median_bytes=300, large_bytes=0)
Spoil = Callable[[Exchange], Exchange]


def of_files(name: str, change: Callable[[Exchange, str], Exchange]) -> Spoil:
    """Changes the answers to requests for files."""
    return lambda one: change(one, match[1]) if (match := re.match(FILES[name], one.request)) else one


def refused(one: Exchange, status: int, text: str = "") -> Exchange:
    return replace(one, status=status, headers={"Content-Type": "text/html"}, text=text, binary="")


def with_body(one: Exchange, body: bytes) -> Exchange:
    return replace(one, text="", binary=base64.b64encode(body).decode())


def absent(name: str) -> Spoil:
    """The storage of files is away."""
    return of_files(name, lambda one, _: refused(one, 404))


def elsewhere(name: str) -> Spoil:
    """Each file is redirected to a host that is no more."""
    away = {"Location": "http://127.0.0.1:9/storage"}
    return of_files(name, lambda one, _: replace(one, status=302, headers=away, text="", binary=""))


def logged_out(name: str) -> Spoil:
    """A login page comes in the place of each file, with status 200."""
    return of_files(name, lambda one, _: refused(one, 200, LOGIN))


def one_forbidden(name: str) -> Spoil:
    """One file is refused with 401, as if nobody were logged in; always the same one."""
    chosen: list[str] = []

    def change(one: Exchange, number: str) -> Exchange:
        chosen.append(number)
        return refused(one, 401) if number == chosen[0] else one

    return of_files(name, change)


def changing(name: str) -> Spoil:
    """A file has another byte each time."""
    times = Counter[str]()

    def change(one: Exchange, number: str) -> Exchange:
        times[number] += 1
        if one.status != 200 or name != "issuetrak":
            return with_body(one, one.body[:-1] + bytes([times[number]])) if one.status == 200 and one.body else one
        answer = json.loads(one.body)
        content = base64.b64decode(answer["FileContent"] or "")
        answer["FileContent"] = base64.b64encode(content[:-1] + bytes([times[number]]) if content else b"").decode()
        return with_body(one, json.dumps(answer).encode())

    return of_files(name, change)


def made_up_coding(name: str) -> Spoil:
    """The head of a file names a coding that is none."""
    return of_files(name, lambda one, _: replace(one, headers={**one.headers, "Content-Encoding": "aws-chunked"}))


def lists_in(answer: Any) -> Iterator[list[Any]]:
    """Lists of items at the top of an answer."""
    if isinstance(answer, dict):
        embedded = answer.get("_embedded")
        for value in (*answer.values(), *(embedded.values() if isinstance(embedded, dict) else ())):
            if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
                yield value


def forgetful(name: str) -> Spoil:
    """A listing leaves out one item, each time another one; what it says of its total stays."""
    times, fewest = Counter[str](), 1 if name == "squash" else 3

    def change(one: Exchange) -> Exchange:
        if one.status != 200 or "json" not in one.headers.get("Content-Type", ""):
            return one
        answer = json.loads(one.body)
        for items in lists_in(answer):
            if len(items) > fewest:
                times[one.request] += 1
                del items[times[one.request] % len(items)]
        return with_body(one, json.dumps(answer).encode())

    return change


def generous(name: str) -> Spoil:
    """A file that is not there is answered with some bytes."""

    def change(one: Exchange) -> Exchange:
        if NO_ID not in one.request or one.status not in {400, 404}:
            return one
        return with_body(replace(one, status=200, headers={"Content-Type": "application/octet-stream"}), b"nothing")

    return change


WAYS: dict[Callable[[str], Spoil], tuple[dict[str, str], str]] = {
    absent: ({"sizes and bytes": "warn"}, "can't be had"),
    elsewhere: ({"sizes and bytes": "warn"}, "can't be had"),
    logged_out: ({"sizes and bytes": "warn"}, "can't be had"),
    one_forbidden: ({"sizes and bytes": "warn"}, "1 of "),
    changing: ({"sizes and bytes": "warn"}, "differ the second time"),
    made_up_coding: ({}, ""),
    forgetful: ({"listings": "FAIL"}, ""),
    generous: ({"a file that is not there": "FAIL"}, "bytes"),
}
"""For each oddity, how the checks come out that are not ok, and what one of them says."""


OTHERWISE = {
    ("squash", forgetful): {"listings": "warn"},  # it names what it could not list
    ("targetprocess", forgetful): {"listings read again": "FAIL"},  # it states no totals
    ("issuetrak", generous): {
        "an entity that is not there": "FAIL"
    },  # its files come in JSON, which these bytes aren't
    ("teampulse", generous): {},  # the addresses of its files have other numbers, so none is made up
}


CASES = [(name, way) for name in sorted(FILES) for way in WAYS]
"""Outside of continuous integration, every fifth: each oddity at one of the trackers."""


@pytest.mark.parametrize(("name", "way"), CASES if FULL else CASES[::5])
async def test_a_thorough_check_says_what_is_odd_at_a_source(tmp_path, name, way):
    async with SANDBOXES[name](WORLD) as source, recording(source.url, [], way(name)) as (address, _):
        options = {"inline_images": "skip"} if name == "targetprocess" else {}
        config = configure(tmp_path, source, source__options=options)
        config.write_text(config.read_text().replace(source.url, address))
        checked = await ended(await start("--json", "check", "--thorough", config), within=120)
    found, (expected, says) = odd_in(checked.document["source"]), WAYS[way]
    if (name, way) in OTHERWISE:
        expected, says = OTHERWISE[name, way], ""
    assert {check: found[check][0] for check in found if check in expected or not expected} == expected, found
    assert any(says in detail for _, detail in found.values()) or not expected


@pytest.mark.parametrize(
    ("name", "odd", "expected"),
    [
        *(
            (name, "max_upload_bytes", ("largest file", "warn", "1 MiB is accepted, 2 MiB is not"))
            for name in sorted(TARGETS)
        ),
        ("redmine", "max_upload_bytes", ("largest file", "warn", "1 MiB is accepted, 2 MiB is not")),
        ("redmine", "drops", ("sending", "FAIL", "accepted, and not found afterwards")),
        ("squash", "drops", ("sending", "warn", "is probably not on its whitelist")),
    ],
)
async def test_a_thorough_check_says_what_is_odd_at_a_target(tmp_path, name, odd, expected):
    quirks: dict[str, dict[str, Any]] = {"redmine": {"attaches": False}, "squash": {"whitelist": {"txt"}}}
    entity = {**TARGETS, "redmine": "Issue:101"}[name]
    dropping = quirks[name] if odd == "drops" else {}
    async with SANDBOXES["teampulse"](WORLD) as source, SANDBOXES[name](WORLD, **dropping) as target:
        if not dropping:
            target.faults.max_upload_bytes = 1_500_000
        config = configure(tmp_path, source, target)
        if name == "issuetrak":
            config.write_text(
                config.read_text().replace("[target.auth]", '[target.options]\ncreated_by = "APIUser"\n[target.auth]')
            )
        checked = await ended(await start("--json", "check", "--thorough", "--entity", entity, config), within=120)
    check, state, says = expected
    found = odd_in(checked.document["target"])
    assert found[check][0] == state, found
    assert says in found[check][1]


def odd_in(side: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """The checks of a side that are not ok, and what they say."""
    details = {check["check"]: check["detail"] for check in side["checks"]}
    return {check: (state, details[check]) for check, state in states(side).items() if state != "ok"}
