"""What a tracker sends is bounded: it can waste a request, and neither memory nor disk nor for ever."""

from __future__ import annotations

import gzip
import tracemalloc

import pytest

from migrator import errors
from migrator.auth import Header
from migrator.http import Answer, HttpClient
from tests.contract import Bucket
from tests.web import answer, sends

MB = 10**6


async def got(sent: bytes, then: str = "close") -> Answer:
    async with sends(sent, then=then) as url:
        client = HttpClient(url, Header("X-Key", "k"), timeout=20)
        try:
            return await client.get("a")
        finally:
            await client.close()


async def test_bomb_in_a_compressed_answer_ends_at_the_limit_and_takes_no_memory(monkeypatch):
    monkeypatch.setattr("migrator.http.ANSWER_LIMIT", MB)
    bomb = answer(gzip.compress(bytes(300 * MB), 1), "application/json", "Content-Encoding: gzip")
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        with pytest.raises(errors.Rejected, match="larger than 1000000 bytes"):
            await got(bomb)
        assert tracemalloc.get_traced_memory()[1] - before < 20 * MB
    finally:
        tracemalloc.stop()


async def test_compressed_answer_below_the_limit_is_read():
    text = b'{"fine": true}'
    assert (await got(answer(gzip.compress(text), "application/json", "Content-Encoding: gzip"))).json()["fine"]


@pytest.mark.parametrize(
    "headers",
    [("X-Long: " + "x" * 100_000,), tuple(f"X-{number}: y" for number in range(100_000))],
    ids=["long", "many"],
)
async def test_headers_without_measure_are_an_error_of_ours(headers):
    with pytest.raises(errors.Retriable) as caught:
        await got(answer(b"{}", "application/json", *headers))
    assert "xxxx" not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [b"[" * 100_000, b'{"a":' * 100_000, b"1" * 100_000, b'{"id": -' + b"9" * 100_000 + b"}"],
    ids=["nested lists", "nested objects", "a long number", "a long id"],
)
async def test_json_without_measure_is_a_wrong_body(body):
    found = await got(answer(body, "application/json"))
    with pytest.raises(errors.WrongBody):
        found.json()


@pytest.mark.parametrize(
    "body",
    [
        b'<!DOCTYPE a [<!ENTITY b "cc"><!ENTITY d "&b;&b;">]><a>&d;</a>',
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
    ],
    ids=["bomb", "DTD", "file"],
)
async def test_xml_with_entities_or_a_dtd_is_a_wrong_body(body):
    found = await got(answer(body, "text/xml"))
    with pytest.raises(errors.WrongBody):
        found.xml()


@pytest.mark.parametrize("status", [b"200 OK", b"500 No"])
async def test_answer_that_never_ends_is_given_up(monkeypatch, status):
    monkeypatch.setattr("migrator.http.ANSWER_LIMIT", MB)
    with pytest.raises(errors.MigratorError):
        await got(b"HTTP/1.1 " + status + b"\r\nContent-Type: application/json\r\n\r\n", "flood")


async def test_file_in_a_compressed_answer_is_refused_before_it_is_unpacked():
    bomb = answer(gzip.compress(bytes(MB)), "image/png", "Content-Encoding: gzip")
    bucket = Bucket()
    async with sends(bomb) as url:
        client = HttpClient(url, Header("X-Key", "k"), timeout=20)
        with pytest.raises(errors.WrongBody, match="compressed"):
            await client.download("a", bucket)
        await client.close()
    assert not bucket.started
