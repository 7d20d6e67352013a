"""Whatever comes in place of a file is not stored, and the catalog says what it was: wire, layers and backup in one."""

from __future__ import annotations

import asyncio
import hashlib
from unittest.mock import patch

import pytest

from migrator import errors
from migrator.layers import verify, verifying_sink
from migrator.layers.verify import ParanoidSource, VerifiedSource
from migrator.model import Attachment
from migrator.testing import MemorySink
from migrator.wire import judging
from migrator.wire import status as answers
from migrator.wire.auth import HeaderAuth
from migrator.wire.client import HttpClient
from migrator.wire.reading import MIN_BYTES_PER_SECOND, StallGuard
from tests.support.parts import PATIENCE, rows, run_backup
from tests.support.web import OneFile, answer, sends

FILE = b"0123456789"
HTML = b"<!DOCTYPE html><html><title>Oops</title><p>Something went wrong.</html>"
LOGIN = b"<!DOCTYPE html><html><title>Welcome</title><form><input type='password'></form></html>"
ERROR = b'{"error": {"code": 17, "text": "no such file"}}'

REASONS: dict[str, tuple[bytes, str, int | None, str]] = {
    # what comes: the bytes, what the server does then, the size that was listed, the reason in the catalog
    "empty": (answer(b""), "close", 10, "empty: 10 bytes were listed"),
    "short": (answer(FILE[:9], length=None), "close", 10, "too short: 9 bytes came, 10 were listed"),
    "long": (answer(FILE + b"x", length=None), "close", 10, "too long: more than the 10 bytes that were listed"),
    "another answer behind it": (
        answer(FILE, length=None) + answer(b"another"),
        "close",
        10,
        "another answer's bytes follow the 10 that were listed",
    ),
    "web page of the right length": (answer(HTML, "text/html"), "close", len(HTML), "a web page instead of the file"),
    "login page": (answer(LOGIN, "text/html"), "close", None, "a login page instead of the file"),
    "redirect to a login page": (
        b"HTTP/1.1 302 Found\r\nLocation: /login?back=1\r\nContent-Length: 0\r\n\r\n",
        "close",
        10,
        "redirected to a login page",
    ),
    "JSON error": (answer(ERROR, "application/json"), "close", None, "an error message (JSON) instead of the file"),
    "compressed": (
        answer(FILE[:9], "image/png", "Content-Encoding: br"),
        "close",
        10,
        "compressed (br), although it was requested uncompressed",
    ),
    "chunked, broken off": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n",
        "close",
        10,
        "the body broke off",
    ),
    "stalled": (answer(FILE[:5], length=10), "stall", 10, "timed out waiting for data"),
    "a byte now and then": (answer(b"", length=10_000), "dribble", 10_000, "too slow: less than 128 bytes a second"),
}


def client(url: str, timeout: float = 20) -> HttpClient:
    return HttpClient(url, HeaderAuth("X-Key", "k"), timeout=timeout)


async def fetched(root, answers: tuple[bytes, ...], then: str, size: int | None, **names: str) -> tuple[str, str]:
    """Back it up; gives status and reason as recorded."""
    async with sends(*answers, then=then) as url:
        source = OneFile(client(url, 0.3 if then in {"stall", "dribble"} else 20), size, **names)
        await run_backup(None, root, source=source)
        await source.close()
    [(status, reason)] = rows(root, "SELECT status, error FROM attachments")
    return status, reason


@pytest.mark.parametrize("what", REASONS)
async def test_body_that_is_not_the_file_is_not_stored_and_its_reason_recorded(tmp_path, what):
    body, then, size, reason = REASONS[what]
    status, told = await fetched(tmp_path, (body,), then, size)
    assert status == "failed"
    assert reason in told
    assert rows(tmp_path, "SELECT * FROM blobs") == []
    assert not list((tmp_path / "blobs").glob("*/*"))
    others = [other for name, (*_, other) in REASONS.items() if name != what]
    assert not [other for other in others if other in told]


async def test_the_file_itself_is_stored(tmp_path):
    assert await fetched(tmp_path, (answer(FILE),), "close", 10) == ("stored", None)
    assert rows(tmp_path, "SELECT sha256 FROM blobs") == [(hashlib.sha256(FILE).hexdigest(),)]


def test_every_reason_stands_in_the_table():
    for *_, reason in REASONS.values():
        words = reason.partition(" of ")[0].partition(": less")[0]
        assert words in verify.__doc__, words


@pytest.mark.parametrize(
    "names",
    [{"name": "data.json"}, {"name": "data", "media_type": "application/json"}],
    ids=["by its name", "by its type"],
)
async def test_file_that_is_json_itself_is_stored(tmp_path, names):
    assert await fetched(tmp_path, (answer(ERROR, "application/json"),), "close", None, **names) == ("stored", None)


async def test_file_of_the_listed_size_is_stored_whatever_its_json_says(tmp_path):
    assert await fetched(tmp_path, (answer(ERROR, "application/json"),), "close", len(ERROR)) == ("stored", None)


async def test_file_that_never_ends_is_given_up_at_its_listed_size(tmp_path):
    taken = 0

    class Counting(MemorySink):
        async def write(self, chunk: bytes) -> None:
            nonlocal taken
            taken += len(chunk)

    endless = answer(b"", length=None)
    async with sends(endless, then="flood") as url:
        source = OneFile(client(url), 100_000)
        with pytest.raises(errors.UnexpectedBodyError, match="too long"):
            await VerifiedSource(source).download(source._file, Counting())
        await source.close()
    assert taken <= 100_000


async def test_bytes_behind_one_answer_are_not_taken_for_the_next():
    doubled = answer(FILE) + answer(b"a stranger's")
    async with sends(doubled, then="stall") as url:
        http_client = client(url)
        for _ in range(2):
            bucket = MemorySink()
            await http_client.download("file", bucket)
            assert bucket.content == FILE
        await http_client.close()


async def test_waiting_that_is_our_own_makes_no_tracker_slow():
    class Quick:
        left = 5

        async def readany(self) -> bytes:
            self.left -= 1
            return b"x" if self.left >= 0 else b""

    body, came = StallGuard(Quick(), 0.01, "GET a"), 0
    while chunk := await body.readany():
        came += len(chunk)
        await asyncio.sleep(0.02)
    assert came == 5
    assert MIN_BYTES_PER_SECOND > 1


# --- twice


def paranoid(url: str, size: int | None) -> tuple[ParanoidSource, Attachment]:
    source = OneFile(client(url), size)
    return ParanoidSource(VerifiedSource(source)), source._file


async def test_file_whose_length_nobody_tells_is_compared_with_a_second_download():
    whole, cut = answer(FILE, length=None), answer(FILE[:7], length=None)
    for second, fine in ((whole, True), (cut, False)):
        async with sends(whole, second) as url:
            source, file = paranoid(url, None)
            bucket = MemorySink()
            if fine:
                await source.download(file, bucket)
                assert bucket.content == FILE
            else:
                with pytest.raises(errors.UnexpectedBodyError, match="two downloads of it differ"):
                    await source.download(file, bucket)
            await source.close()


@pytest.mark.parametrize(("length", "size"), [(-1, None), (None, 10)], ids=["announced", "listed"])
async def test_file_whose_length_is_told_is_fetched_once(length, size):
    async with sends(answer(FILE, length=length), answer(b"other data", length=length)) as url:
        source, file = paranoid(url, size)
        bucket = MemorySink()
        await source.download(file, bucket)
        assert bucket.content == FILE
        await source.close()


# --- defects that these tests have to find


async def test_body_checks_that_are_left_out_are_noticed(tmp_path):
    """Each check is taken away, and that shows."""
    defects = {
        "short": patch.object(verifying_sink.VerifyingSink, "finish", lambda self: None),
        "long": patch.object(verifying_sink.VerifyingSink, "_refuse_excess", lambda self: None),
        "JSON error": patch.object(verifying_sink, "looks_like_error", lambda *_: False),
    }
    for number, (what, defect) in enumerate(defects.items()):
        body, then, size, _ = REASONS[what]
        with defect:
            status, reason = await fetched(tmp_path / str(number), (body,), then, size)
        # Or what it is for is caught by another check, in other words.
        assert status == "stored" or "too short" in reason or "text (application/json)" in reason, what


async def times_asked_for_a_file_that_is_gone() -> int:
    asked = 0

    class Gone(OneFile):
        async def download(self, attachment, sink):
            nonlocal asked
            asked += 1
            await super().download(attachment, sink)

    async with sends(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n") as url:
        source = Gone(client(url), 10)
        with pytest.raises(errors.MigratorError):
            await PATIENCE.call(lambda: source.download(source._file, MemorySink()))
        await source.close()
    return asked


async def test_404_is_not_repeated_and_a_404_that_were_would_be_noticed():
    assert await times_asked_for_a_file_that_is_gone() == 1
    real = answers.error_for_status

    def careless(status, headers, what, body=b""):
        return errors.RetriableError(what) if status == 404 else real(status, headers, what, body)

    with patch.object(judging, "error_for_status", careless):
        assert await times_asked_for_a_file_that_is_gone() == 1 + PATIENCE.retries
