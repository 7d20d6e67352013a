"""What is the file, where the size that was listed, the length that was announced and the coding disagree."""

from __future__ import annotations

import gzip
import zlib
from typing import Any

import pytest

from migrator import errors
from migrator.layers.retry import RetryingTarget
from migrator.layers.retry_policy import RetryPolicy
from migrator.layers.verify import VerifiedSource
from migrator.layers.verifying_sink import MIN_EQUAL_DOWNLOADS
from migrator.model import Attachment, EntityRef
from migrator.ports import BodyFacts, Sink
from migrator.testing import MemorySink
from migrator.trackers.memory import MemorySource, MemoryTarget, MemoryTracker

TEXT = b"what the file holds, " * 500
GZ, ZLIB, BARE = gzip.compress(TEXT, mtime=0), zlib.compress(TEXT), zlib.compress(TEXT, wbits=-15)
PAGE = b"<!DOCTYPE html><html><title>Oops</title></html>"
MESSAGE = b'{"error": {"code": 17}}'


class Sending(MemorySource):
    """Sends these bodies, one for each download, the last for all others; announced as they are long, or not at all."""

    def __init__(self, *bodies: bytes, announced: bool = True, step: int = 1000, **facts: Any) -> None:
        super().__init__(MemoryTracker())
        self.bodies, self.announced, self.step, self.facts = bodies, announced, step, facts
        self.times = 0

    async def download(self, attachment: Attachment, sink: Sink) -> None:
        body = self.bodies[min(self.times, len(self.bodies) - 1)]
        self.times += 1
        await sink.start(BodyFacts(length=len(body) if self.announced else None, **self.facts))
        for at in range(0, len(body), self.step):
            await sink.write(body[at : at + self.step])


async def come(source: Sending, size: int | None, name: str = "a.bin", listed: str = "") -> MemorySink:
    bucket = MemorySink()
    await VerifiedSource(source).download(Attachment("1", EntityRef("Bug", "1"), name, size, media_type=listed), bucket)
    return bucket


# --- another size than was listed


@pytest.mark.parametrize("size", [0, 1, len(TEXT) - 1, len(TEXT) + 1, 10**15])
async def test_file_of_its_announced_but_not_its_listed_size_is_taken_and_told(size):
    source = Sending(TEXT)
    bucket = await come(source, size)
    assert bucket.content == TEXT
    assert bucket.warnings == [f"listed with {size} bytes, {len(TEXT)} came"]
    assert source.times == MIN_EQUAL_DOWNLOADS


@pytest.mark.parametrize("size", [-1, -(10**9), None])
async def test_negative_size_is_none(size):
    source = Sending(TEXT)
    bucket = await come(source, size)
    assert (bytes(bucket.content), bucket.warnings, source.times) == (TEXT, [], 1)


@pytest.mark.parametrize("cuts", [1, 2])
async def test_cut_that_passes_is_never_taken_for_the_file(cuts):
    source = Sending(*[TEXT[:-1]] * cuts, TEXT)
    bucket = await come(source, len(TEXT))
    assert (bytes(bucket.content), bucket.warnings, source.times) == (TEXT, [], cuts + 1)


async def test_file_that_comes_in_another_way_each_time_is_refused():
    for other in (TEXT[:-2], b"x" + TEXT[1:-1]):
        with pytest.raises(errors.UnexpectedBodyError, match="were listed, and two downloads of it differ"):
            await come(Sending(TEXT[:-1], other), len(TEXT))


@pytest.mark.parametrize(
    ("body", "names", "facts"),
    [
        (b"", {}, {}),
        (PAGE, {}, {"media_type": "text/html"}),
        (PAGE, {}, {"media_type": "application/octet-stream"}),
        (PAGE, {}, {"media_type": "text/html", "named": True}),
        (PAGE, {"name": "page.html"}, {"media_type": "text/html"}),
        (PAGE, {"listed": "text/html"}, {"media_type": "text/html"}),
        (MESSAGE, {}, {"media_type": "application/json"}),
        (MESSAGE, {"name": "data.json"}, {"media_type": "application/json"}),
        (b"<Error><Code>NoSuchKey</Code></Error>", {}, {"media_type": "application/xml"}),
        (b"<Error><Code>NoSuchKey</Code></Error>", {"name": "a"}, {"media_type": "text/xml"}),
        (b"File not found on disk", {"name": "a.png"}, {"media_type": "text/plain"}),
        (b"File not found on disk", {"listed": "application/pdf"}, {"media_type": "text/plain"}),
        (TEXT[:50], {}, {"coding": "br"}),
    ],
)
async def test_what_is_said_instead_of_a_file_is_no_file_of_another_size(body, names, facts):
    with pytest.raises(errors.UnexpectedBodyError):
        await come(Sending(body, **facts), 5000, **names)


async def test_bytes_of_another_answer_behind_a_file_are_no_file_of_another_size():
    with pytest.raises(errors.UnexpectedBodyError, match="another answer's bytes follow the 50 that were listed"):
        await come(Sending(TEXT[:50] + b"HTTP/1.1 200 OK\r\n\r\n" + TEXT), 50)


@pytest.mark.parametrize(
    ("body", "names", "facts"),
    [
        (b"a,b\n", {"name": "a.csv"}, {"media_type": "text/plain"}),
        (b"plain", {"name": "README"}, {"media_type": "text/plain"}),
        (b"<a/>", {"name": "a.xml"}, {"media_type": "text/xml"}),
        (b"<svg/>", {"name": "a.svg"}, {"media_type": "text/xml"}),
        (b"[1]", {"name": "a.json"}, {"media_type": "application/json"}),
        (b"text", {"name": "a.png"}, {"media_type": "text/plain", "named": True}),
        (PAGE, {"name": "page.html"}, {"media_type": "text/html", "named": True}),
        (MESSAGE, {"name": "a.json"}, {"media_type": "application/json", "named": True}),
    ],
)
async def test_file_that_may_be_what_it_says_is_taken_in_another_size(body, names, facts):
    bucket = await come(Sending(body, **facts), 5000, **names)
    assert bucket.content == body
    assert bucket.warnings


WORDS = [
    (b"File not found", "text/plain"),
    (b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>', "application/xml"),
    (b'{"success": false, "reason": "not found"}', "application/json"),
    (b'{"code": "NoSuchKey"}', "application/json"),
    (b'{"type": "about:blank", "title": "Not Found"}', "application/problem+json"),
]


@pytest.mark.parametrize("name", ["a.png", "a.jpeg", "a.docx", "a.zip"])
@pytest.mark.parametrize(("body", "media_type"), WORDS)
async def test_words_are_no_picture_where_no_size_is_listed_either(name, body, media_type):
    for announced in (True, False):
        with pytest.raises(errors.UnexpectedBodyError, match="instead of the file"):
            await come(Sending(body, announced=announced, media_type=media_type), None, name)


@pytest.mark.parametrize("body", [body for body, media_type in WORDS if media_type.endswith("json")])
async def test_api_message_is_no_file_of_unknown_size_whatever_its_name(body):
    with pytest.raises(errors.UnexpectedBodyError, match="an error message"):
        await come(Sending(body, media_type="application/json"), None, "a.bin")


@pytest.mark.parametrize(
    ("name", "body", "facts"),
    [
        ("a.png", b"\x89PNG\r\n\x1a\n" + TEXT, {"media_type": "text/plain"}),
        ("a.zip", b"PK\x03\x04" + TEXT, {"media_type": "text/plain"}),
        ("a.png", TEXT, {"media_type": "text/plain", "named": True}),
        ("a.png", TEXT, {"media_type": "application/octet-stream"}),
        ("a.png", b"", {"media_type": "text/plain"}),
        ("a.log", TEXT, {"media_type": "text/plain"}),
        ("a.eml", TEXT, {"media_type": "text/plain"}),
        ("a.ts", TEXT, {"media_type": "text/plain"}),
        ("a.pdf", b"%PDF-1.4" + TEXT, {"media_type": "text/plain"}),
        ("a.unknown", b"<project/>", {"media_type": "application/xml"}),
        ("a.geojson", b'{"type": "FeatureCollection"}', {"media_type": "application/json"}),
        ("a.har", b'{"log": {}}', {"media_type": "application/json"}),
    ],
)
async def test_file_of_unknown_size_that_may_be_what_it_says_is_taken(name, body, facts):
    assert (await come(Sending(body, **facts), None, name)).content == body


async def test_length_that_nobody_announced_proves_nothing():
    for size in (len(TEXT) - 1, len(TEXT) + 1, 0):
        with pytest.raises(errors.UnexpectedBodyError, match="were listed"):
            await come(Sending(TEXT, announced=False), size)


@pytest.mark.parametrize("size", [0, 1, len(TEXT) - 1, len(TEXT) + 1, 10**15])
async def test_file_inside_of_a_whole_answer_is_whole_whatever_size_is_listed(size):
    """As in base64 inside JSON: nothing is announced, and a cut would be seen."""
    source = Sending(TEXT, announced=False, framed=True, named=True)
    bucket = await come(source, size)
    assert (bucket.content, source.times) == (TEXT, MIN_EQUAL_DOWNLOADS)
    assert bucket.warnings == [f"listed with {size} bytes, {len(TEXT)} came"]
    with pytest.raises(errors.UnexpectedBodyError, match="differ"):
        await come(Sending(TEXT, TEXT[:-5], announced=False, framed=True), size)


async def test_what_comes_inside_of_something_has_an_end_even_so(monkeypatch):
    monkeypatch.setattr("migrator.layers.verifying_sink.MAX_UNANNOUNCED_BYTES", 1000)
    with pytest.raises(errors.UnexpectedBodyError, match="too long"):
        await come(Sending(TEXT, announced=False, framed=True), 10)


async def test_what_is_read_back_from_a_target_has_to_have_its_size():
    source = Sending(TEXT)

    class Back(MemoryTarget):
        async def read_back(self, remote: Attachment, sink: Sink) -> None:
            await source.download(remote, sink)

    target = RetryingTarget(Back(MemoryTracker()), RetryPolicy(retries=0))
    remote = Attachment("1", EntityRef("Bug", "1"), "a.bin", len(TEXT) + 1)
    with pytest.raises(errors.UnexpectedBodyError, match="too short"):
        await target.read_back(remote, MemorySink())
    assert source.times == 1


# --- codings


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("step", [1, 2, 700, 10**6])
@pytest.mark.parametrize(
    ("coding", "body"), [("gzip", GZ), ("deflate", ZLIB), ("deflate", BARE)], ids=["gzip", "zlib", "bare deflate"]
)
async def test_file_that_was_packed_on_the_way_is_unpacked(coding, body, step, announced):
    for size in (len(TEXT), None):
        source = Sending(body, announced=announced, step=step, coding=coding)
        bucket = await come(source, size)
        assert (bytes(bucket.content), bucket.warnings, source.times) == (TEXT, [], 1)
        assert bucket.facts.coding == ""
        assert bucket.facts.length is None


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("name", ["log.tar.gz", "log.tgz", "picture.SVGZ", "no name for it"])
async def test_file_that_is_packed_itself_stays_as_it_is(name, announced):
    for size in (len(GZ), None):
        listed = "application/x-gzip" if name == "no name for it" else ""
        source = Sending(GZ, announced=announced, coding="gzip")
        bucket = await come(source, size, name, listed)
        assert (bytes(bucket.content), bucket.warnings, source.times) == (GZ, [], 1)


@pytest.mark.parametrize(("size", "name", "body"), [(len(TEXT), "a.gz", TEXT), (len(GZ), "a.bin", GZ)])
async def test_listed_size_is_right_whatever_the_name_says_of_packing(size, name, body):
    for announced in (True, False):
        source = Sending(GZ, announced=announced, coding="gzip")
        bucket = await come(source, size, name)
        assert (bytes(bucket.content), bucket.warnings) == (body, [])
        assert source.times == (1 if announced else 2)


async def test_file_packed_twice_is_unpacked_once():
    source = Sending(gzip.compress(GZ), coding="gzip")
    assert (await come(source, len(GZ), "log.gz")).content == GZ


async def test_file_in_several_packed_pieces_is_unpacked_whole():
    assert (await come(Sending(GZ + GZ, coding="gzip"), 2 * len(TEXT))).content == TEXT + TEXT


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("size", [len(TEXT), None])
@pytest.mark.parametrize("step", [2, 1000])
async def test_file_that_is_not_packed_at_all_is_the_file(coding, size, step):
    source = Sending(TEXT, coding=coding, step=step)
    bucket = await come(source, size)
    assert bucket.content == TEXT
    assert bucket.warnings == ([] if size else [f"declared as compressed ({coding}), kept as it came"])


@pytest.mark.parametrize("body", [GZ[:-9], GZ[:-4] + b"????", GZ + b"more", GZ[:40]])
async def test_file_that_cannot_be_unpacked_is_kept_as_it_came(body):
    bucket = await come(Sending(body, coding="gzip"), None)
    assert bucket.content == body
    assert bucket.warnings == ["declared as compressed (gzip), kept as it came"]


async def test_file_that_fits_neither_size_is_kept_if_it_comes_equal_each_time():
    bucket = await come(Sending(GZ, coding="gzip"), 7)
    assert bucket.content == GZ
    assert bucket.warnings == [
        f"listed with 7 bytes, {len(GZ)} came",
        "declared as compressed (gzip), kept as it came",
    ]
    with pytest.raises(errors.UnexpectedBodyError, match="were listed"):
        await come(Sending(GZ, coding="gzip", announced=False), 7)


async def test_empty_file_that_is_said_to_be_packed_is_empty():
    for size in (0, None):
        assert (await come(Sending(b"", coding="gzip"), size)).content == b""


async def test_packed_page_is_no_file():
    for size in (len(PAGE), None):
        with pytest.raises(errors.LoginPageError):
            await come(Sending(gzip.compress(PAGE), coding="gzip", media_type="text/html"), size)


async def test_no_piece_of_an_unpacked_file_is_large():
    body = bytes(50_000_000)
    bucket = await come(Sending(gzip.compress(body, 1), coding="gzip", step=10**9), len(body))
    assert len(bucket.content) == len(body)
    assert bucket.largest <= 2**20
