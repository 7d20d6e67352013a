"""What a tracker sends is bounded: it can waste a request, and neither memory nor disk nor for ever."""

from __future__ import annotations

import gzip
import tracemalloc

import pytest

from migrator import errors
from migrator.layers.verify import VerifiedSource
from migrator.layers.verifying_sink import MIN_EQUAL_DOWNLOADS
from migrator.testing import MemorySink
from migrator.wire.answer import Answer
from migrator.wire.auth import HeaderAuth
from migrator.wire.client import HttpClient
from tests.support.web import OneFile, answer, sends

MB = 10**6


async def got(sent: bytes, then: str = "close") -> Answer:
    async with sends(sent, then=then) as url:
        client = HttpClient(url, HeaderAuth("X-Key", "k"), timeout=20)
        try:
            return await client.get("a")
        finally:
            await client.close()


async def test_bomb_in_a_compressed_answer_ends_at_the_limit_and_takes_no_memory(monkeypatch):
    monkeypatch.setattr("migrator.wire.client.MAX_ANSWER_BYTES", MB)
    bomb = answer(gzip.compress(bytes(300 * MB), 1), "application/json", "Content-Encoding: gzip")
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        with pytest.raises(errors.RejectedError, match="larger than 1000000 bytes"):
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
    with pytest.raises(errors.RetriableError) as caught:
        await got(answer(b"{}", "application/json", *headers))
    assert "xxxx" not in str(caught.value)


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 100_000], ids=["nested lists", "nested objects"])
async def test_json_without_measure_is_a_wrong_body(body):
    found = await got(answer(body, "application/json"))
    with pytest.raises(errors.UnexpectedBodyError):
        found.json()


async def test_number_without_measure_is_none_and_spoils_nothing_else():
    found = await got(answer(b'{"size": -' + b"9" * 100_000 + b', "id": 7}', "application/json"))
    assert found.json() == {"size": None, "id": 7}


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
    with pytest.raises(errors.UnexpectedBodyError):
        found.xml()


@pytest.mark.parametrize("status", [b"200 OK", b"500 No"])
async def test_answer_that_never_ends_is_given_up(monkeypatch, status):
    monkeypatch.setattr("migrator.wire.client.MAX_ANSWER_BYTES", MB)
    with pytest.raises(errors.MigratorError):
        await got(b"HTTP/1.1 " + status + b"\r\nContent-Type: application/json\r\n\r\n", "flood")


class Counting(MemorySink):
    """Keeps nothing; counts all that was ever written, and the most at a time."""

    written = most = 0

    async def write(self, chunk: bytes) -> None:
        self.written += len(chunk)
        self.most = max(self.most, len(chunk))


@pytest.mark.parametrize(("size", "written"), [(5 * MB, 5 * MB), (None, 300 * MB)], ids=["listed", "not listed"])
async def test_bomb_in_place_of_a_file_ends_at_its_listed_size_or_ratio_limit(monkeypatch, size, written):
    monkeypatch.setattr("migrator.layers.verifying_sink.MAX_UNANNOUNCED_BYTES", 10 * MB)
    packed = gzip.compress(bytes(400 * MB), 1)
    async with sends(answer(packed, "image/png", "Content-Encoding: gzip")) as url:
        client, bucket = HttpClient(url, HeaderAuth("X-Key", "k"), timeout=20), Counting()
        tracemalloc.start()
        try:
            before, source = tracemalloc.get_traced_memory()[0], VerifiedSource(OneFile(client, size))
            await source.download(source._inner._file, bucket)
            assert tracemalloc.get_traced_memory()[1] - before < 30 * MB
        finally:
            tracemalloc.stop()
            await client.close()
    assert bucket.written < written + (MIN_EQUAL_DOWNLOADS + 1) * len(packed)
    assert bucket.most <= MB
    assert "declared as compressed (gzip), kept as it came" in bucket.warnings
