import asyncio
import gzip
import io
import os
import tempfile
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from pathlib import Path

import aiohttp
import pytest

from migrator.sandbox.faults import MAX_IN_A_ROW, Faults
from migrator.sandbox.targetprocess.app import TargetprocessSandbox
from migrator.sandbox.world.model import World

Client = aiohttp.ClientSession
PAIR = f"{TargetprocessSandbox.user}:{TargetprocessSandbox.password}"
BASIC = {"Authorization": "Basic " + b64encode(PAIR.encode()).decode()}
LIST = "/api/v1/Attachments?format=json"
FILE = "/Attachment.aspx?AttachmentID=1"


@pytest.fixture
async def sandbox(world: World) -> AsyncIterator[TargetprocessSandbox]:
    async with TargetprocessSandbox(world) as running:
        yield running


async def fetch(client: Client, sandbox: TargetprocessSandbox, path: str) -> tuple[int, bytes, dict[str, str]]:
    async with client.get(sandbox.url + path, headers=BASIC, allow_redirects=False) as answer:
        return answer.status, await answer.read(), dict(answer.headers)


async def upload(client: Client, sandbox: TargetprocessSandbox, content: bytes = b"hello") -> int:
    form = aiohttp.FormData()
    form.add_field("generalId", "101")
    form.add_field("file", io.BytesIO(content), filename="a.txt")
    async with client.post(f"{sandbox.url}/UploadFile.ashx", data=form, headers=BASIC) as answer:
        await answer.read()
        return answer.status


async def test_without_faults_nothing_is_injected(client: Client, sandbox: TargetprocessSandbox) -> None:
    for path in (LIST, FILE):
        assert (await fetch(client, sandbox, path))[0] == 200
    assert not sandbox.faults.injected


@pytest.mark.parametrize("path", [LIST, FILE])
@pytest.mark.parametrize(("fault", "status"), [("error_500", 500), ("unavailable", 503), ("throttled", 429)])
async def test_a_rate_of_one_fails_twice_and_then_lets_through(
    client: Client, sandbox: TargetprocessSandbox, path: str, fault: str, status: int
) -> None:
    setattr(sandbox.faults, fault, 1.0)
    seen = [await fetch(client, sandbox, path) for _ in range(6)]
    assert [one[0] for one in seen] == [status, status, 200] * 2
    assert ("Retry-After" in seen[0][2]) is (status != 500)
    assert sandbox.faults.injected == {fault: 4}


async def test_retry_after_is_told_in_seconds_or_as_a_date(client: Client, sandbox: TargetprocessSandbox) -> None:
    sandbox.faults.throttled = 1.0
    sandbox.faults.retry_after = 90
    assert (await fetch(client, sandbox, LIST))[2]["Retry-After"] == "90"
    sandbox.faults.retry_after_as_date = True
    headers = (await fetch(client, sandbox, LIST))[2]
    wait = parsedate_to_datetime(headers["Retry-After"]) - parsedate_to_datetime(headers["Date"])
    assert 85 < wait.total_seconds() < 95


@pytest.mark.parametrize("path", [LIST, FILE])
async def test_a_dropped_connection_gives_no_answer(client: Client, sandbox: TargetprocessSandbox, path: str) -> None:
    sandbox.faults.dropped = 1.0
    # A POST, because aiohttp repeats a GET by itself when a kept connection ends.
    with pytest.raises(aiohttp.ServerDisconnectedError):
        async with client.post(f"{sandbox.url}/api/v1/Bugs", json={}, headers=BASIC):
            pass
    assert sandbox.faults.injected["dropped"] == 1
    with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
        await fetch(client, sandbox, path)
    assert sandbox.faults.injected["dropped"] >= 2


@pytest.mark.parametrize("path", [LIST, FILE])
async def test_a_truncated_body_is_shorter_than_its_content_length(
    client: Client, sandbox: TargetprocessSandbox, path: str
) -> None:
    whole = (await fetch(client, sandbox, path))[1]
    sandbox.faults.truncated = 1.0
    async with client.get(sandbox.url + path, headers=BASIC) as answer:
        assert answer.status == 200
        assert answer.content_length == len(whole)
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    assert sandbox.faults.injected == {"truncated": 1}


async def test_a_stalled_body_stops_in_the_middle(client: Client, sandbox: TargetprocessSandbox) -> None:
    sandbox.faults.stalled = 1.0
    timeout = aiohttp.ClientTimeout(sock_read=0.2)
    async with client.get(sandbox.url + FILE, headers=BASIC, timeout=timeout) as answer:
        assert await answer.content.readany()
        with pytest.raises(aiohttp.SocketTimeoutError):
            await answer.read()
    assert sandbox.faults.injected == {"stalled": 1}


async def test_a_login_page_or_a_redirect_comes_instead_of_a_file_only(
    client: Client, sandbox: TargetprocessSandbox
) -> None:
    sandbox.faults.login_page = 1.0
    status, body, headers = await fetch(client, sandbox, FILE)
    assert (status, body[:9], headers["Content-Type"]) == (200, b"<!DOCTYPE", "text/html; charset=utf-8")
    sandbox.faults.login_page, sandbox.faults.redirected = 0.0, 1.0
    status, _, headers = await fetch(client, sandbox, FILE)
    assert (status, headers["Location"][:11]) == (302, "/login.aspx")
    assert (await fetch(client, sandbox, LIST))[0] == 200
    assert sandbox.faults.injected == {"login_page": 1, "redirected": 1}


async def test_a_body_can_be_packed_though_nobody_asked(
    client: Client, sandbox: TargetprocessSandbox, world: World
) -> None:
    sandbox.faults.gzipped = 1.0
    _, body, headers = await fetch(client, sandbox, FILE)
    assert headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(body) == world.content(world.attachments[0])
    assert sandbox.faults.injected == {"gzipped": 1}


async def test_a_body_can_have_a_size_that_the_metadata_does_not_tell(
    client: Client, sandbox: TargetprocessSandbox, world: World
) -> None:
    sandbox.faults.wrong_size = 1.0
    _, body, headers = await fetch(client, sandbox, FILE)
    assert body == world.content(world.attachments[0])[:-1]
    assert headers["Content-Length"] == str(len(body))
    assert sandbox.faults.injected == {"wrong_size": 1}


async def test_a_dribbled_body_is_whole(client: Client, sandbox: TargetprocessSandbox, world: World) -> None:
    sandbox.faults.dribbled = 1.0
    _, body, _ = await fetch(client, sandbox, FILE)
    assert body == world.content(world.attachments[0])
    assert sandbox.faults.injected == {"dribbled": 1}


async def test_latency_delays_each_answer(client: Client, sandbox: TargetprocessSandbox) -> None:
    sandbox.faults.latency = 0.1
    start = time.monotonic()
    await fetch(client, sandbox, LIST)
    assert time.monotonic() - start >= 0.1
    assert sandbox.faults.injected == {"latency": 1}


@pytest.mark.parametrize(("fault", "status"), [("gone", 404), ("broken", 500), ("forbidden", 403)])
async def test_some_files_are_refused_for_ever(
    client: Client, sandbox: TargetprocessSandbox, fault: str, status: int
) -> None:
    getattr(sandbox.faults, fault).add(1)
    assert [(await fetch(client, sandbox, FILE))[0] for _ in range(4)] == [status] * 4
    assert (await fetch(client, sandbox, "/Attachment.aspx?AttachmentID=2"))[0] == 200
    assert sandbox.faults.injected == {fault: 4}
    assert sandbox.downloads == {2: 1}


async def test_an_upload_whose_answer_is_lost_is_stored(client: Client, sandbox: TargetprocessSandbox) -> None:
    sandbox.faults.lose_upload_answers = 1
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await upload(client, sandbox)
    assert len(sandbox.state.uploads) == 1
    assert sandbox.faults.injected == {"lose_upload_answers": 1}
    assert await upload(client, sandbox) == 200
    assert len(sandbox.state.uploads) == 2


async def test_an_upload_that_fails_is_not_stored(client: Client, sandbox: TargetprocessSandbox) -> None:
    sandbox.faults.fail_uploads = 1
    assert await upload(client, sandbox) == 500
    assert not sandbox.state.uploads
    assert await upload(client, sandbox) == 200
    assert sandbox.faults.injected == {"fail_uploads": 1}


async def test_upload_rates_strike_twice_in_a_row_at_most(client: Client, sandbox: TargetprocessSandbox) -> None:
    sandbox.faults.fail_upload_rate = 1.0
    assert [await upload(client, sandbox) for _ in range(3)] == [500, 500, 200]
    sandbox.faults.fail_upload_rate, sandbox.faults.lose_upload_rate = 0.0, 1.0
    for _ in range(2):
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await upload(client, sandbox)
    assert await upload(client, sandbox) == 200
    assert len(sandbox.state.uploads) == 4


async def test_an_upload_is_stored_before_a_delayed_answer(client: Client, sandbox: TargetprocessSandbox) -> None:
    sandbox.faults.upload_delay_after_accept = 30
    task = asyncio.create_task(upload(client, sandbox))
    async with asyncio.timeout(5):
        while not sandbox.state.uploads:
            await asyncio.sleep(0.01)
    assert not task.done()
    task.cancel()
    assert sandbox.faults.injected == {"upload_delay_after_accept": 1}


@pytest.mark.parametrize("size", [1_001, 200_000])
async def test_an_upload_over_the_limit_is_413(client: Client, sandbox: TargetprocessSandbox, size: int) -> None:
    sandbox.faults.max_upload_bytes = 1_000
    assert await upload(client, sandbox, b"x" * 1_000) == 200
    assert await upload(client, sandbox, b"x" * size) == 413
    assert len(sandbox.state.uploads) == 1
    assert sandbox.faults.injected == {"max_upload_bytes": 1}


def test_a_post_is_never_cut_because_its_effect_would_stay() -> None:
    faults = Faults(truncated=1.0)
    assert faults.of_request("POST /api/v1/Bugs", file=False) is None
    assert faults.of_request("GET /api/v1/Bugs", file=False) == "truncated"


def test_the_same_seed_draws_the_same_faults_in_any_order_of_requests() -> None:
    def drawn(seed: int, keys: list[str]) -> dict[str, list[str | None]]:
        faults = Faults.transient(0.5, seed)
        told: dict[str, list[str | None]] = {}
        for key in keys:
            told.setdefault(key, []).append(faults.of_request(key, file=True))
        return told

    keys = [f"GET /{number}" for number in range(20)] * 5
    assert drawn(1, keys) == drawn(1, sorted(keys))
    assert drawn(1, keys) != drawn(2, keys)


@pytest.mark.parametrize("seed", range(5))
def test_transient_faults_come_at_their_rate_and_never_thrice_in_a_row(seed: int) -> None:
    faults = Faults.transient(0.3, seed)
    for number in range(300):
        row = [faults.of_request(f"GET /{number}", file=True) for _ in range(20)]
        for start in range(len(row) - MAX_IN_A_ROW):
            assert None in row[start : start + MAX_IN_A_ROW + 1]
    assert 0.22 < faults.injected.total() / 6000 < 0.34
    assert set(faults.injected) == {
        "error_500", "unavailable", "throttled", "dropped", "truncated", "wrong_size",
    }  # fmt: skip


async def test_a_client_that_repeats_gets_through_transient_faults(
    client: Client, sandbox: TargetprocessSandbox, world: World
) -> None:
    sandbox.faults = Faults.transient(0.6)
    for file in world.attachments[:60]:
        for _ in range(2 * MAX_IN_A_ROW + 1):
            try:
                status, body, _ = await fetch(client, sandbox, f"/Attachment.aspx?AttachmentID={file.id}")
            except aiohttp.ClientError:
                continue
            if status == 200 and len(body) == file.size:
                break
        else:
            pytest.fail(f"attachment {file.id} never came")
        assert body == world.content(file)
    assert sandbox.faults.injected.total() > 30


async def test_stop_is_quick_with_idle_and_with_stalled_connections(client: Client, world: World) -> None:
    sandbox = TargetprocessSandbox(world)
    await sandbox.start()
    await fetch(client, sandbox, LIST)
    sandbox.faults.stalled = 1.0
    task = asyncio.create_task(fetch(client, sandbox, FILE))
    await asyncio.sleep(0.1)
    start = time.monotonic()
    await sandbox.stop()
    await sandbox.stop()
    assert time.monotonic() - start < 1.0
    with pytest.raises(aiohttp.ClientError):
        await task


async def test_a_sandbox_can_be_started_again_and_keeps_its_uploads(client: Client, world: World) -> None:
    sandbox = TargetprocessSandbox(world)
    for _ in range(2):
        async with sandbox:
            assert await upload(client, sandbox) == 200
    async with sandbox:
        assert (await fetch(client, sandbox, "/Attachment.aspx?AttachmentID=601"))[1] == b"hello"
    assert len(sandbox.state.uploads) == 2


def open_files() -> list[str]:
    return [path for path in map(str, Path("/proc/self/fd").iterdir()) if os.path.lexists(path)]


async def test_a_large_upload_goes_to_a_file_without_a_name(client: Client, sandbox, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    content = bytes(range(256)) * 20_000
    assert await upload(client, sandbox, content) == 200
    deleted = [link for link in map(os.readlink, open_files()) if link.startswith(str(tmp_path))]
    assert len(deleted) == 1, "it is on the disk"
    assert not [*tmp_path.iterdir()], "and a kill leaves nothing of it"
    assert (await fetch(client, sandbox, "/Attachment.aspx?AttachmentID=601"))[1] == content
