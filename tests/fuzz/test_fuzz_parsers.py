"""The pure parsers of what comes from outside: dates, tokens, base64 in JSON, ZIP archives, options."""

from __future__ import annotations

import base64
import io
import json
import struct
import zipfile
from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from migrator.errors import MigratorError, UnexpectedBodyError
from migrator.jobs.options import date, entity, size
from migrator.model import Attachment, EntityRef
from migrator.selection import Selection
from migrator.trackers.issuetrak.parse import api_date
from migrator.trackers.issuetrak.zip_batches import ZipBatch
from migrator.trackers.squash.parse import date_in
from migrator.trackers.targetprocess.parse import iso_date
from migrator.wire.auth import HmacAuth, RequestToSign, Signature, WrapAuth
from migrator.wire.base64_field import Base64Field
from migrator.wire.status import retry_after
from tests.fuzz import examples
from tests.fuzz.mutations import STRINGS

FIELD = "FileContent"
ZONES = ["GMT", "-0000", "-2359", "+2359"]
DATES = st.one_of(
    st.text(max_size=30),
    st.sampled_from(STRINGS),
    st.datetimes(timezones=st.none() | st.just(UTC)).map(datetime.isoformat),
    st.builds("/Date({}{})/".format, st.integers(-(10**18), 10**18), st.sampled_from(["", "+0100", "-9999", "+2400"])),
    st.builds(
        "{}, {:02} {} {:04} {:02}:{:02}:{:02} {}".format,
        st.sampled_from(["Mon", "X"]),
        st.integers(0, 40),
        st.sampled_from(["Jan", "Feb", "Dec", "Foo"]),
        st.integers(0, 12_000),
        *(st.integers(0, 99),) * 3,
        st.sampled_from(["GMT", "-0000", "+9999", "-2359", "EST", ""]),
    ),
)


@examples(300)
@given(DATES)
def test_any_date_is_read_or_left_out(told):
    for read in (iso_date, date_in):
        if found := read(told):
            datetime.fromisoformat(found)
    wait = retry_after({"Retry-After": told})
    assert wait is None or 0 <= wait <= 86_400
    for zone in (UTC, ZoneInfo("America/New_York")):
        assert len(api_date(told, zone)) == 27
    assert isinstance(
        Selection(since=datetime(2024, 1, 1, tzinfo=UTC)).wants(
            Attachment("1", EntityRef("Bug", "1"), "x", created_at=told)
        ),
        bool,
    )


@examples(200)
@given(st.lists(DATES | st.sampled_from([f"Fri, 31 Dec 9999 23:59:59 {zone}" for zone in ZONES]), max_size=3))
async def test_any_clock_of_a_server_leaves_requests_that_can_be_signed(dates):
    signer = HmacAuth("key")
    for told in dates:
        signer.refused(Signature(), {"Date": told})
        signed = await signer.sign(RequestToSign("GET", URL("http://x.example/y"), None))
        assert all(value.isascii() and value.isprintable() for value in signed.headers.values())


TOKENS = st.text(max_size=10) | st.sampled_from([*STRINGS, "a\r\nX-Evil: 1"])


@examples(200)
@given(
    st.binary(max_size=30)
    | st.builds(
        lambda access, refresh: urlencode(
            {"wrap_access_token": access, "wrap_refresh_token": refresh}, errors="replace"
        ).encode(),
        TOKENS,
        TOKENS,
    )
)
async def test_any_answer_to_a_login_gives_a_usable_token_or_our_error(body):
    signer = WrapAuth("ann", "secret")

    async def post(path: str, form: object) -> tuple[int, bytes]:
        return 200, body

    with suppress(MigratorError):
        assert await signer.login(post)
        signed = await signer.sign(RequestToSign("GET", URL("http://x.example/y"), None))
        assert all(value.isprintable() for value in signed.headers.values())


def scanned(document: bytes, cuts: list[int]) -> bytes:
    field, found, at = Base64Field(FIELD), b"", 0
    for cut in [*sorted(cut % (len(document) + 1) for cut in cuts), len(document)]:
        found += field.feed(document[at:cut])
        at = cut
    field.close()
    return found


@examples(300)
@given(
    st.binary(min_size=1, max_size=60),
    st.integers(0, 300),
    st.binary(max_size=4),
    st.lists(st.integers(0, 300), max_size=5),
)
def test_base64_in_json_that_was_cut_or_damaged_is_never_a_shorter_file(content, at, garbage, cuts):
    whole = json.dumps(
        {"AttachmentID": 7, FIELD: base64.b64encode(content).decode(), "FileSizeInBytes": len(content)}
    ).encode()
    with pytest.raises(UnexpectedBodyError):
        scanned(whole[: at % len(whole)], cuts)
    damaged = whole[: at % len(whole)] + garbage + whole[at % len(whole) :]
    with suppress(UnexpectedBodyError):
        found = scanned(damaged, cuts)
        text = json.loads(damaged).get(FIELD) or ""
        assert found == base64.b64decode("".join(text.split()), validate=True)
    trailing = whole + (garbage.strip() or b"x")
    with pytest.raises(UnexpectedBodyError):
        scanned(trailing, cuts)


FILES = st.lists(st.binary(max_size=50), min_size=1, max_size=4)
NAMES = st.sampled_from(["a", "b", "../x", "/etc/passwd", "", "é", "a/", "\0"])


def zip_of(contents: list[bytes], names: list[str], how: int) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", how) as archive:
        for name, content in zip(names, contents, strict=False):
            with archive.open(zipfile.ZipInfo(name or "x"), "w", force_zip64=len(content) % 2 == 0) as entry:
                entry.write(content)
    return made.getvalue()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@examples(300)
@given(
    FILES,
    st.lists(NAMES, min_size=4, max_size=4),
    st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]),
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=4),
    st.integers(0, 5000) | st.none(),
    st.lists(st.integers(0, 80), min_size=4, max_size=4),
)
def test_any_zip_gives_whole_files_or_none(contents, names, how, flips, cut, sizes):
    packed = bytearray(zip_of(contents, names, how))
    for at, byte in flips:
        packed[at % len(packed)] = byte
    packed = packed[: cut % (len(packed) + 1)] if cut is not None else packed
    records = [
        {"AttachmentID": number, "ExtensionData": [{"Key": "CompressedEntryName", "Value": name}]}
        for number, name in enumerate(names)
    ]
    answer = {
        "QueryResults": {"Collection": records},
        "CompressedAttachmentsContent": base64.b64encode(packed).decode(),
    }
    with suppress(UnexpectedBodyError):
        unpacked = ZipBatch(answer)
        for number, told in enumerate(sizes):
            content = unpacked.content(str(number), told)
            assert content is None or len(content) == told


def test_a_zip_bomb_is_read_no_further_than_the_listed_size():
    packed = bytearray(zip_of([b"\0" * 50_000_000], ["a"], zipfile.ZIP_DEFLATED))
    lying = packed.replace(struct.pack("<I", 50_000_000), struct.pack("<I", 9))
    for archive in (packed, lying):
        records = [{"AttachmentID": 1, "ExtensionData": [{"Key": "CompressedEntryName", "Value": "a"}]}]
        told = {
            "QueryResults": {"Collection": records},
            "CompressedAttachmentsContent": base64.b64encode(archive).decode(),
        }
        assert ZipBatch(told).content("1", 10) is None


@examples(200)
@given(st.text(max_size=20) | st.sampled_from(STRINGS) | st.integers().map(str) | DATES)
def test_any_word_of_an_option_is_taken_or_refused_as_bad_usage(word):
    for read in (date, entity, size):
        with suppress(click.BadParameter):
            read(word)
