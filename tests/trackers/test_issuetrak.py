"""Issuetrak keeps the port, whatever its server can do, and each of its oddities is met."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from contextlib import asynccontextmanager
from datetime import UTC, timedelta, timezone
from unittest.mock import patch
from uuid import UUID
from zoneinfo import ZoneInfo

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from migrator import errors
from migrator.filenames import name_at_target
from migrator.layers.retry import RetryingSource, RetryingTarget
from migrator.layers.retry_policy import RetryPolicy
from migrator.layers.verify import VerifiedSource
from migrator.model import Attachment, Draft, Entity, EntityRef
from migrator.pipeline.backup import BackupSettings, backup
from migrator.pipeline.load import LoadSettings, load
from migrator.sandbox.errors import RefusedError
from migrator.sandbox.faults import Faults
from migrator.sandbox.issuetrak.app import IssuetrakSandbox
from migrator.sandbox.issuetrak.files import complaint_about, zipped
from migrator.sandbox.issuetrak.reads import Reads
from migrator.sandbox.teampulse.app import TeamPulseSandbox
from migrator.sandbox.world.model import World
from migrator.store.blobs import Archive
from migrator.store.catalog import Catalog
from migrator.testing import (
    NASTY,
    BoundSource,
    BoundTarget,
    Bytes,
    Expected,
    MemorySink,
    SourceContract,
    TargetContract,
    crawl,
    fetch,
    nowhere,
    read_to_the_end,
    sha256,
)
from migrator.trackers import adapter
from migrator.trackers.issuetrak import ADAPTER, IssuetrakSource, IssuetrakTarget, Options
from migrator.trackers.issuetrak.authors import is_active
from migrator.trackers.issuetrak.numbers import IssueRange
from migrator.trackers.issuetrak.parse import api_date, attachment_in, collection_in, created_in, page_window
from migrator.trackers.issuetrak.zip_batches import ZipBatches
from migrator.trackers.memory import MemoryTracker
from migrator.wire.auth import HmacAuth, RequestToSign
from migrator.wire.client import HttpClient
from tests.support.attached import attach
from tests.support.opened import closed_later
from tests.support.parts import FULL, run_backup, run_load

WORLD = World.generate(entities=40, seed=7, median_bytes=2_000, large_bytes=2_500_000)
SMALL = World.generate(entities=12, seed=3, median_bytes=500, large_bytes=0)
MANY = World.generate(entities=110, seed=4, median_bytes=100, large_bytes=0)
NUMBERS = f"{min(one.id for one in MANY.entities)}-{max(one.id for one in MANY.entities)}"
NO_PATIENCE = RetryPolicy(backoff=0, backoff_max=0)
LIST = "GET /api/v1/attachments/{route}/{number}/{content}"
SEARCH = "POST /api/v1/issues/search"
ISSUE = "GET /api/v1/issues/{notes}/{number}"
UPLOAD = "POST /api/v1/attachments{slash}"
DATE = "2014-05-06T07:08:09"


def client(url: str, key: str = IssuetrakSandbox.key) -> HttpClient:
    return closed_later(HttpClient(url, ADAPTER.signer({"api_key": key}), timeout=20))


def source(url: str, key: str = IssuetrakSandbox.key, **options: object) -> IssuetrakSource:
    return IssuetrakSource(client(url, key), Options(**options))


def target(url: str, key: str = IssuetrakSandbox.key, **options: object) -> IssuetrakTarget:
    return IssuetrakTarget(client(url, key), Options(**{"created_by": "APIUser", **options}))


def issue(number: object) -> EntityRef:
    return EntityRef("Issue", str(number))


def answered_by(reads: type[Reads], world: World) -> IssuetrakSandbox:
    """A server that answers reads in another way."""
    sandbox = IssuetrakSandbox(world)
    sandbox.reads = reads(sandbox, sandbox.quirks, sandbox.records, sandbox.users)
    return sandbox


def told(sandbox: IssuetrakSandbox) -> list[Expected]:
    """All files that a source should find."""
    world = sandbox.world
    owned = [(owner, file) for file in world.attachments if (owner := world.owner_of(file)) is not None]
    return [Expected.of(issue(owner), file.name, world.content(file)) for owner, file in owned]


def busiest(sandbox: IssuetrakSandbox) -> int:
    return int(Counter(file.owner for file in told(sandbox)).most_common(1)[0][0].id)


def empty_issue(sandbox: IssuetrakSandbox) -> int:
    return next(entity.id for entity in sandbox.state.entities() if not sandbox.state.attachments_of(entity.id))


async def send(goal, number: object, name: str = "a.txt", content: bytes = b"a", author: str = "", date: str = DATE):
    draft = Draft(name, "text/plain", "", len(content), created_at=date, created_by=author)
    return await goal.upload(issue(number), draft, Bytes(content))


def record(sandbox: IssuetrakSandbox, made: Attachment) -> tuple[str, str]:
    """Author and date as the server has them."""
    return sandbox.records.given[int(made.id)]


# --- the contracts


class SourceBound(SourceContract):
    """Each subclass is another server."""

    world = SMALL
    oddities: dict[str, object] = {}  # noqa: RUF012
    options: dict[str, object] = {}  # noqa: RUF012

    @pytest.fixture
    async def bound(self):
        async with IssuetrakSandbox(self.world, **self.oddities) as sandbox:
            yield BoundSource(
                source(sandbox.url, **self.options),
                lambda: source(sandbox.url, **self.options),
                {issue(entity.id) for entity in sandbox.world.entities},
                told(sandbox),
                gone=self.gone(sandbox),
                missing=Entity(issue(99999)),
                refused=lambda: source(sandbox.url, "wrong", **self.options),
                unreachable=lambda: source(nowhere(), **self.options),
                attach=lambda ref: attach(sandbox, int(ref.id)),
            )

    def gone(self, sandbox: IssuetrakSandbox) -> Attachment | None:
        """A server that answers 400 doesn't say by that whether the file is gone; its list does."""
        return Attachment("99999", issue(busiest(sandbox)), "") if sandbox.quirks.missing_status == 404 else None


class TestSource(SourceBound):
    world = WORLD


class TestSourceWithDates(SourceBound):
    world = WORLD
    options = {"change_date": "LastModifiedDate"}  # noqa: RUF012
    oddities = {"change_date": "LastModifiedDate"}  # noqa: RUF012


class TestSourceInSmallPages(SourceBound):
    world = MANY
    options = {"page_size": 20}  # noqa: RUF012


class TestSourceInAVirtualDirectoryWithOneSpelling(SourceBound):
    oddities = {"base_path": "/Tools/Issuetrak", "routes": ("issue",)}  # noqa: RUF012


class TestSourceByNumbers(SourceBound):
    options = {"issue_numbers": "1-200"}  # noqa: RUF012
    oddities = {"search_status": 403, "missing_status": 400}  # noqa: RUF012


class TestSourceByZip(SourceBound):
    options = {"zip": True}  # noqa: RUF012


class TestSourceByZipThatIsABomb(SourceBound):
    options = {"zip": True}  # noqa: RUF012
    oddities = {"zip_bomb": True}  # noqa: RUF012


class TestSourceThatRefusesWith403AndEscapes(SourceBound):
    oddities = {"refusal_status": 403, "escaped": True, "empty_is_null": True}  # noqa: RUF012

    async def test_wrong_credentials_never_look_like_an_empty_tracker(self, bound):
        wrong = bound.refused()
        with pytest.raises(errors.AuthError):
            await crawl(wrong)


def bound_target(sandbox: IssuetrakSandbox, wrap=lambda target: target) -> BoundTarget:
    async def files_of(ref: EntityRef):
        return [(f.name, f.size, f.sha256, "") for f in sandbox.state.files_of(int(ref.id))]

    return BoundTarget(
        wrap(target(sandbox.url)),
        lambda: wrap(target(sandbox.url)),
        issue(busiest(sandbox)),
        issue(99999),
        files_of,
        gone=Attachment("99999", issue(1), "gone.txt"),
        refused=lambda: wrap(target(sandbox.url, "wrong")),
        unreachable=lambda: wrap(target(nowhere())),
        author="Ann Lee",
    )


class TestTarget(TargetContract):
    @pytest.fixture(params=[{}, {"refusal_status": 401, "answer": "object", "routes": ("issue",)}], ids=["", "odd"])
    async def bound(self, request):
        async with IssuetrakSandbox(SMALL, base_path="/it", **request.param) as sandbox:
            yield bound_target(sandbox)


class TestTargetBehindFaults(TargetContract):
    @pytest.fixture
    async def bound(self):
        faults = Faults(seed=5, error_500=0.1, dropped=0.1, truncated=0.1, wrong_size=0.1)
        async with IssuetrakSandbox(SMALL, faults) as sandbox:
            bound = bound_target(sandbox, lambda inner: RetryingTarget(inner, NO_PATIENCE))
            bound.unreachable = bound.refused = None
            yield bound


# --- signatures


VECTOR_ID, VECTOR_TIME = "c3838d04-46f8-43d6-92fd-62b3d0b59f3e", 1410370088.322735
VECTOR_BODY = (
    b'{"IssueNumber":100,"FileName":"Test-Attachment.txt","CreatedBy":"Admin",'
    b'"CreatedDate":"2014-01-01T11:30:10.0000000","FileSizeInBytes":26,'
    b'"FileContent":"VGhpcyBpcyBhIHRlc3QgYXR0YWNobWVudC4="}'
)


class _Frozen:
    """Signs at the moment of the vectors, whose seventh digit no clock of ours has."""

    moment = "2014-09-10T17:28:08.3227351Z"

    @classmethod
    def fromtimestamp(cls, *_: object) -> type[_Frozen]:
        return cls

    @classmethod
    def strftime(cls, _: str) -> str:
        return cls.moment


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        (
            "GET",
            "/api/v1/attachments/139978/true",
            None,
            "V5OCIDDs7ODUaNrCZN780eX6csIZdeaVcxlIHC3+HCLwOE850w8LHYcm34N7o84eomEmG2baHQLcapJblswJ0Q==",
        ),
        (
            "POST",
            "/API/v1/Attachments",
            VECTOR_BODY,
            "rgN1kWf81vBdPy4D6oPtLSI5f2y0Sdx6pqIT+Zn1lQsycRNhyQpZrRrss2DGdZXWOyj1nqR6cbGVCNE6E+acSQ==",
        ),
        (
            "post",
            "/api/v1/attachments",
            Bytes(VECTOR_BODY, 7),
            "rgN1kWf81vBdPy4D6oPtLSI5f2y0Sdx6pqIT+Zn1lQsycRNhyQpZrRrss2DGdZXWOyj1nqR6cbGVCNE6E+acSQ==",
        ),
    ],
)
async def test_signatures_are_those_of_the_test_vectors(method, path, body, expected):
    signer = HmacAuth(IssuetrakSandbox.key)
    with patch("migrator.wire.auth.uuid.uuid4", lambda: UUID(VECTOR_ID)), patch("migrator.wire.auth.datetime", _Frozen):
        signed = await signer.sign(RequestToSign(method, URL(f"https://issuetrak.example.com{path}"), body))
    assert signed.headers == {
        "X-Issuetrak-API-Request-ID": VECTOR_ID,
        "X-Issuetrak-API-Timestamp": _Frozen.moment,
        "X-Issuetrak-API-Authorization": expected,
    }


async def test_every_attempt_has_a_signature_of_its_own():
    signer = HmacAuth("key")
    request = RequestToSign("GET", URL("https://issuetrak.example.com/api/v1/issues/false/1"))
    first, second = await signer.sign(request), await signer.sign(request)
    assert set(first.headers.items()).isdisjoint(second.headers.items())
    assert first.headers["X-Issuetrak-API-Request-ID"] == str(UUID(first.headers["X-Issuetrak-API-Request-ID"]))
    assert len(first.headers["X-Issuetrak-API-Timestamp"]) == len("2014-09-10T17:28:08.3227351Z")


async def test_query_and_body_are_covered_by_the_signature():
    signer, url = HmacAuth("key"), URL("https://issuetrak.example.com/a?x=1")
    with patch("migrator.wire.auth.uuid.uuid4", lambda: UUID(VECTOR_ID)), patch("migrator.wire.auth.datetime", _Frozen):
        requests = [
            RequestToSign("GET", url),
            RequestToSign("GET", url % {"x": "2"}),
            RequestToSign("GET", url, b"body"),
        ]
        signed = [(await signer.sign(request)).headers["X-Issuetrak-API-Authorization"] for request in requests]
    assert len(set(signed)) == 3


async def test_sandbox_refuses_a_request_that_comes_twice_or_was_changed():
    async with IssuetrakSandbox(SMALL) as sandbox, aiohttp.ClientSession() as session:
        url = URL(f"{sandbox.url}/api/v1/issues/false/{busiest(sandbox)}")
        headers = (await HmacAuth(sandbox.key).sign(RequestToSign("GET", url))).headers
        async with session.get(url, headers=headers) as first, session.get(url, headers=headers) as again:
            assert (first.status, again.status) == (200, 401)
        headers = (await HmacAuth(sandbox.key).sign(RequestToSign("GET", url))).headers
        async with session.get(url.with_path("/api/v1/issues/false/999"), headers=headers) as other:
            assert other.status == 401


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("offset", [-4000, 86_400 * 30])
async def test_wrong_clock_is_put_right_by_the_server_and_stays_so(status, offset):
    async with IssuetrakSandbox(SMALL, refusal_status=status) as sandbox:
        goal = target(sandbox.url)
        number = busiest(sandbox)
        await goal.find_attachments(issue(number))
        sandbox.quirks.clock_offset = offset
        made = await send(goal, number, content=b"x" * 300_000)
        assert sandbox.requests[UPLOAD] == 2
        bucket = MemorySink()
        await goal.read_back(made, bucket)
        assert bytes(bucket.content) == b"x" * 300_000
        assert sandbox.requests["GET /api/v1/attachments/{number}/{content}"] == 1
        assert len(sandbox.state.uploads) == 1


async def test_many_workers_with_a_wrong_clock_all_get_through():
    async with IssuetrakSandbox(SMALL, clock_offset=-7200, refusal_status=403) as sandbox:
        done = await crawl(source(sandbox.url))
        goal = target(sandbox.url)
        files = list(done.attachments.values())[:8]
        buckets = [MemorySink() for _ in files]
        await asyncio.gather(*(goal.read_back(file, b) for file, b in zip(files, buckets, strict=True)))
        assert [len(b.content) for b in buckets] == [file.size for file in files]


async def test_clock_is_not_blamed_for_a_wrong_key():
    async with IssuetrakSandbox(SMALL) as sandbox:
        with pytest.raises(errors.AuthError):
            await source(sandbox.url, "wrong").check()
        assert sandbox.requests.total() == 1


# --- lists


def always(**answer: object):
    """An answer to everything."""

    async def respond(_: web.Request) -> web.Response:
        return web.Response(**answer)

    return respond


@asynccontextmanager
async def serving(*routes: web.RouteDef):
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_spelling_of_the_list_is_found_once_and_remembered():
    async with IssuetrakSandbox(SMALL, routes=("issue",)) as sandbox:
        found = source(sandbox.url)
        number = busiest(sandbox)
        await found.attachments_of(Entity(issue(number)))
        assert sandbox.requests[LIST] == 2
        await found.attachments_of(Entity(issue(number)))
        assert sandbox.requests[LIST] == 3


async def test_spelling_of_the_list_can_be_configured():
    async with IssuetrakSandbox(SMALL) as sandbox:
        await source(sandbox.url, list_route="issueNumber").attachments_of(Entity(issue(busiest(sandbox))))
        assert sandbox.requests[LIST] == 1


WORDS = ["", "Nichts gefunden", "There is no attachment.", "The resource cannot be found.", "Not allowed for 7 minutes"]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (status, words)
        for status in (400, 404, 405, 410, 422, 501)
        for words in WORDS
        if FULL or status == 404 or words == WORDS[0]
    ],
)
async def test_server_without_any_list_of_files_never_looks_empty(status, words):
    async with IssuetrakSandbox(SMALL, routes=(), no_route=(status, words)) as sandbox:
        for number in (busiest(sandbox), empty_issue(sandbox)):
            with pytest.raises(errors.TrackerUnreachableError, match="no route"):
                await source(sandbox.url).attachments_of(Entity(issue(number)))
            with pytest.raises(errors.TrackerUnreachableError, match="list_route"):
                await target(sandbox.url).find_attachments(issue(number))


class Walled(Reads):
    """Something before the server answers for both spellings, in words of its own, each time others."""

    status, words = 404, "Nothing here"

    async def files(self, request):
        if request.match_info["route"].lower() in {"issue", "issuenumber"}:
            raise RefusedError(self.status, self.words)
        return await super().files(request)


@pytest.mark.parametrize("status", [404, 405, 410, 422])
@pytest.mark.parametrize("options", [{}, {"issue_numbers": "101-140"}])
async def test_list_that_never_answered_is_not_believed_whatever_its_words(status, options, tmp_path):
    async with answered_by(Walled, SMALL) as sandbox:
        sandbox.reads.status = status
        found = source(sandbox.url, **options)
        for entity in SMALL.entities[:3]:
            with pytest.raises((errors.NotExposedError, errors.TrackerUnreachableError), match="list_route"):
                await found.attachments_of(Entity(issue(entity.id)))
        assert any("list_route" in words for words in await found.oddities())
        if status in {404, 410}:
            assert (await run_backup(None, tmp_path, source=source(sandbox.url, **options)))["status"] == "incomplete"


async def test_list_that_never_answered_is_believed_only_where_it_can_be_told():
    async with IssuetrakSandbox(SMALL.without_attachments()) as sandbox:
        with pytest.raises(errors.NotExposedError, match="list_route"):
            await source(sandbox.url).attachments_of(Entity(issue(SMALL.entities[0].id)))
        named = source(sandbox.url, list_route="issueNumber")
        assert await named.attachments_of(Entity(issue(SMALL.entities[0].id))) == ()
        sandbox.quirks.routes = ("issue",)
        with pytest.raises(errors.TrackerUnreachableError, match="no route"):
            await source(sandbox.url, list_route="issueNumber").attachments_of(Entity(issue(SMALL.entities[0].id)))


@pytest.mark.parametrize(
    ("route", "options"),
    [("issue", {}), ("issuenumber", {}), ("issue", {"issue_numbers": NUMBERS}), ("issuenumber", {"page_size": 20})],
)
async def test_issues_before_the_first_with_a_file_are_believed_to_have_none(route, options):
    """The server answers 404 for none; another issue shows that the route is there."""
    async with IssuetrakSandbox(MANY, routes=(route,)) as sandbox:
        last = sandbox.world.entities[-1].id
        shown = sandbox.state.attachments_of
        sandbox.state.attachments_of = lambda id_: shown(busiest(sandbox))[:1] if id_ == last else []
        done = await crawl(source(sandbox.url, **options))
        assert {ref.id for ref, files in done.asked.items() if files} == {str(last)}
        assert len(done.asked) == len(MANY.entities)


async def test_empty_list_proves_that_the_route_is_there():
    class Empty(Reads):
        async def files(self, request):
            number = int(request.match_info["number"])
            if number == self._state.world.entities[-1].id:
                return web.json_response({"Collection": [], "CountForPage": 0, "TotalCount": 0})
            raise RefusedError(404, "Nothing here")

    async with answered_by(Empty, SMALL) as sandbox:
        done = await crawl(source(sandbox.url))
        assert set(done.asked.values()) == {()}


@pytest.mark.parametrize("status", [400, 405, 422, 501])
async def test_list_that_is_refused_otherwise_than_by_404_is_a_failure(status):
    """Also of a route that has answered before, for an issue that is there."""

    class Odd(Reads):
        async def files(self, request):
            if int(request.match_info["number"]) == self._state.world.entities[-1].id:
                raise RefusedError(status, "odd")
            return await super().files(request)

    async with answered_by(Odd, SMALL) as sandbox:
        found = source(sandbox.url)
        assert await found.attachments_of(Entity(issue(busiest(sandbox))))
        with pytest.raises(errors.RejectedError, match="odd") as caught:
            await found.attachments_of(Entity(issue(sandbox.world.entities[-1].id)))
        assert not isinstance(caught.value, errors.GoneError)


@pytest.mark.parametrize("options", [{}, {"list_route": "issueNumber"}])
async def test_list_route_that_vanishes_in_mid_run_leaves_no_issue_without_files(options):
    """As when a proxy gets new rules: from then on each list answers 404, and no issue has lost its files."""

    class Walling(Reads):
        lists = 0

        async def files(self, request):
            self.lists += 1
            if self.lists > 3:
                raise RefusedError(404, "Nothing here")
            return await super().files(request)

    async with answered_by(Walling, SMALL) as sandbox:
        found = source(sandbox.url, **options)
        assert await found.attachments_of(Entity(issue(busiest(sandbox))))
        assert await found.attachments_of(Entity(issue(empty_issue(sandbox)))) == ()
        for entity in SMALL.entities:
            with pytest.raises(errors.RetriableError, match="no longer returns a list"):
                await found.attachments_of(Entity(issue(entity.id)))


async def test_issues_without_files_cost_one_question_for_many():
    """That the route is there is asked once for all that wait for it."""
    async with IssuetrakSandbox(MANY) as sandbox:
        found = source(sandbox.url)
        assert await found.attachments_of(Entity(issue(busiest(sandbox))))
        before = sandbox.requests[LIST]
        empty = [entity.id for entity in sandbox.state.entities() if not sandbox.state.attachments_of(entity.id)]
        assert len(empty) > 10
        await asyncio.gather(*(found.attachments_of(Entity(issue(number))) for number in empty))
        assert sandbox.requests[LIST] - before < 1.5 * len(empty)


async def test_route_that_is_named_wrongly_is_no_empty_tracker():
    async with IssuetrakSandbox(SMALL) as sandbox:
        with pytest.raises(errors.TrackerUnreachableError, match="no route attachments/issues;"):
            await source(sandbox.url, list_route="issues").attachments_of(Entity(issue(busiest(sandbox))))


async def test_lists_that_make_no_sense_are_not_asked_for_again_and_again():
    """Whoever gets a 404 asks others whether they have a list: not without end."""

    class Senseless(Reads):
        async def files(self, request):
            return web.json_response(json.loads((await super().files(request)).text)["Collection"])

    async with answered_by(Senseless, MANY) as sandbox:
        found = source(sandbox.url)
        for entity in MANY.entities:
            with pytest.raises(errors.UnexpectedBodyError):
                await found.attachments_of(Entity(issue(entity.id)))
        assert sandbox.requests[LIST] < 8 * len(MANY.entities)


async def test_list_that_is_shorter_than_it_counts_is_no_list():
    class Short(Reads):
        async def files(self, request):
            told = json.loads((await super().files(request)).text)
            return web.json_response({**told, "Collection": told["Collection"][:-1], "CountForPage": self.counts})

    async with answered_by(Short, SMALL) as sandbox:
        for counts in (None, len(crowded(sandbox)) - 1, len(crowded(sandbox))):
            sandbox.reads.counts = counts
            with pytest.raises(errors.UnexpectedBodyError):
                await source(sandbox.url).attachments_of(Entity(issue(busiest(sandbox))))


async def test_file_is_listed_no_more_only_if_the_route_of_lists_answers():
    async with IssuetrakSandbox(SMALL) as sandbox:
        found = source(sandbox.url)
        done = await crawl(found)
        files = [file for file in done.attachments.values() if file.owner == issue(busiest(sandbox))]
        for file in files:
            assert await found.still_lists(file)
            sandbox.state.delete(int(file.id))
            assert not await found.still_lists(file)
        sandbox.quirks.routes = ()
        for file in done.attachments.values():
            with pytest.raises(errors.GoneError):
                await found.still_lists(file)


@pytest.mark.parametrize("status", [400, 404])
async def test_issue_without_files_and_no_issue_are_told_apart(status):
    async with IssuetrakSandbox(SMALL, missing_status=status) as sandbox:
        found = source(sandbox.url)
        assert await found.attachments_of(Entity(issue(empty_issue(sandbox)))) == ()
        with pytest.raises(errors.GoneError):
            await found.attachments_of(Entity(issue(99999)))


async def test_issue_that_this_server_forbids_is_forbidden_and_not_gone():
    async with IssuetrakSandbox(SMALL) as sandbox:
        number = busiest(sandbox)
        sandbox.faults.forbidden_entities.add(number)
        with pytest.raises(errors.ForbiddenError):
            await source(sandbox.url).attachments_of(Entity(issue(number)))


async def test_id_that_is_no_number_never_gets_into_a_path():
    async with IssuetrakSandbox(SMALL) as sandbox:
        for id_ in ("../users/false", "1/true", "", "٣", "-1"):
            with pytest.raises(errors.GoneError):
                await source(sandbox.url).attachments_of(Entity(issue(id_)))
        assert not sandbox.requests


async def test_numbers_are_read_to_the_end_of_the_range_and_no_further():
    async with IssuetrakSandbox(SMALL, search_status=404) as sandbox:
        numbers = sorted(entity.id for entity in sandbox.state.entities())
        done = await crawl(source(sandbox.url, issue_numbers=f"1-{numbers[4]}"))
        assert done.entities == {issue(number) for number in numbers[:5]}
        assert not sandbox.requests[SEARCH]


async def test_numbers_are_asked_for_side_by_side(monkeypatch):
    under_way = most = 0
    ask = IssuetrakSource._issue

    async def counted(self, number):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            return await ask(self, number)
        finally:
            under_way -= 1

    monkeypatch.setattr(IssuetrakSource, "_issue", counted)
    async with IssuetrakSandbox(SMALL) as sandbox:
        page = await source(sandbox.url, issue_numbers="101-109").read("issues", None)
        there = sorted(int(entity.id) for entity in SMALL.entities)
        assert [entity.ref for entity in page.entities] == [issue(number) for number in there if number <= 109]
    assert most == 9


@pytest.mark.parametrize("status", [400, 403, 404, 405])
async def test_refused_search_says_what_to_set(status):
    async with IssuetrakSandbox(SMALL, search_status=status) as sandbox:
        for attempt in (source(sandbox.url).check(), crawl(source(sandbox.url))):
            with pytest.raises(errors.ConfigError, match="issue_numbers"):
                await attempt


@pytest.mark.parametrize("status", [400, 403, 404, 405, 500, 200])
async def test_search_refused_in_mid_listing_is_retried_as_a_passing_fault(status):
    class Odd(Reads):
        odd = 0

        async def search(self, request):
            self.odd -= 1
            if self.odd == 0 or self.odd < -100:
                return web.Response(status=status, text="<html>Down for maintenance</html>", content_type="text/html")
            return await super().search(request)

    async with answered_by(Odd, MANY) as sandbox:
        for sandbox.reads.odd in range(2, 8):
            patient = RetryingSource(source(sandbox.url, page_size=20), NO_PATIENCE)
            pages = await read_to_the_end(patient, "issues")
            assert {e.ref for page in pages for e in page.entities} == {issue(entity.id) for entity in MANY.entities}
        found = source(sandbox.url, page_size=20)
        page = await found.read("issues", None)
        sandbox.reads.odd = -200
        with pytest.raises(errors.RetriableError):
            await found.read("issues", page.next)


CUTS = {
    "the page size is told": lambda told, size: {**told, "PageSize": size},
    "the page size is told as it was asked for": lambda told, _: told,
    "no page size is told": lambda told, _: {**told, "PageSize": None},
    "a page size is told that is none": lambda told, _: {**told, "PageSize": 0},
    "nothing is counted": lambda told, size: {**told, "PageSize": size, "TotalCount": None, "CountForPage": None},
    "the number of all is that of the page": lambda told, _: {**told, "TotalCount": told["CountForPage"]},
}


class Cutting(Reads):
    """Gives its own number of issues on a page, whatever is asked for; `base` is the index of its first page."""

    own, base = 25, 0
    tell = staticmethod(CUTS["the page size is told"])

    async def search(self, request):
        asked = json.loads(await request.read())
        size = self.own or asked["PageSize"]
        index = asked["PageIndex"] - self.base
        some = [
            self._records.issue(entity)
            for entity in self._state.entities()[max(0, index) * size : max(0, index + 1) * size]
        ]
        told = {"PageIndex": asked["PageIndex"], "CountForPage": len(some), "PageSize": asked["PageSize"]}
        told |= {"TotalCount": len(self._state.entities()), "Collection": some, "IsPageIndexZeroBased": not self.base}
        return web.json_response(self.tell(told, size))


async def all_issues(sandbox: IssuetrakSandbox, **options: object) -> Counter[EntityRef]:
    pages = await read_to_the_end(source(sandbox.url, **options), "issues")
    return Counter(entity.ref for page in pages for entity in page.entities)


@pytest.mark.parametrize("own", [1, 2, 3, 10, 25, 50, 109, 110, 111, 150, 1000])
async def test_server_with_a_page_size_of_its_own_is_read_to_its_end(own):
    async with answered_by(Cutting, MANY) as sandbox:
        sandbox.reads.own = own
        for page_size in (20, 50, 100):
            assert set(await all_issues(sandbox, page_size=page_size)) == {issue(e.id) for e in MANY.entities}
            assert f"{len(MANY.entities)} issues" in await source(sandbox.url, page_size=page_size).check()


@pytest.mark.parametrize("tell", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("own", [10, 25, 50, 1000])
async def test_pages_that_the_server_cuts_are_noticed_whatever_it_tells_of_them(own, tell):
    async with answered_by(Cutting, MANY) as sandbox:
        sandbox.reads.own, sandbox.reads.tell = own, tell
        assert set(await all_issues(sandbox)) == {issue(entity.id) for entity in MANY.entities}


async def test_server_that_counts_its_pages_from_one_is_read_to_its_end():
    async with answered_by(Cutting, MANY) as sandbox:
        sandbox.reads.own, sandbox.reads.base = None, 1
        assert set(await all_issues(sandbox, page_size=20)) == {issue(entity.id) for entity in MANY.entities}


@pytest.mark.parametrize("kept", [0, 1, 5, 9])
@pytest.mark.parametrize("behind", [0, 1, 60])
async def test_search_that_ends_before_the_number_that_it_tells_is_short(kept, behind):
    """The pages behind some issue hold a few issues or none, though the number of all is more."""

    class Short(Reads):
        async def search(self, request):
            told = json.loads((await super().search(request)).text)
            if [one for one in told["Collection"] if one["IssueNumber"] >= self._state.entities()[behind].id]:
                told["Collection"] = told["Collection"][:kept]
            return web.json_response({**told, "CountForPage": len(told["Collection"])})

    async with answered_by(Short, MANY) as sandbox:
        with pytest.raises(errors.ShortListingError):
            await all_issues(sandbox, page_size=50)


async def test_search_with_a_trailing_slash_is_tried_where_the_other_is_unknown():
    class Slashed(Reads):
        async def search(self, request):
            if not request.path.endswith("/"):
                raise RefusedError(404, "no")
            return await super().search(request)

    async with answered_by(Slashed, MANY) as sandbox:
        assert set(await all_issues(sandbox)) == {issue(entity.id) for entity in MANY.entities}


@pytest.mark.parametrize("status", [400, 404, 410])
async def test_range_of_numbers_without_a_single_issue_is_a_failure(status):
    async with IssuetrakSandbox(SMALL, missing_status=status) as sandbox:
        with pytest.raises(errors.TrackerUnreachableError, match="none of the issues 1 to 90 answers"):
            await read_to_the_end(source(sandbox.url, issue_numbers="1-90"), "issues")
        last = max(entity.id for entity in SMALL.entities)
        pages = await read_to_the_end(source(sandbox.url, issue_numbers=f"{last}-{last + 90}"), "issues")
        assert [entity.ref for page in pages for entity in page.entities] == [issue(last)]
        resumed = await source(sandbox.url, issue_numbers=f"{last}-{last + 90}").read("issues", pages[-2].next)
        assert (resumed.entities, resumed.next) == ((), None)


async def test_issue_of_a_range_that_is_refused_is_named_and_the_others_are_read():
    class Odd(Reads):
        async def issue(self, request):
            if request.match_info["number"] == str(self._state.entities()[3].id):
                raise RefusedError(405, "odd")
            return await super().issue(request)

    async with answered_by(Odd, SMALL) as sandbox:
        numbers = [entity.id for entity in sandbox.state.entities()]
        forbidden, odd = numbers[2], numbers[3]
        sandbox.faults.forbidden_entities.add(forbidden)
        found = source(sandbox.url, issue_numbers="1-200")
        pages = await read_to_the_end(found, "issues")
        assert [one.ref for page in pages for one in page.unread] == [issue(odd)]
        assert {e.ref for page in pages for e in page.entities} == {
            issue(n) for n in numbers if n not in {forbidden, odd}
        }
        [asked] = [e for page in pages for e in page.ask if e.ref == issue(forbidden)]
        with pytest.raises(errors.ForbiddenError):
            await found.attachments_of(asked)


class Vanishing(Reads):
    """Issues answer up to a number, and from then on nobody does, as when a proxy gets new rules."""

    last = 0

    async def issue(self, request):
        if self.last and int(request.match_info["number"]) > self.last:
            self._quirks.routes, self.walled = (), True
        if getattr(self, "walled", False):
            raise RefusedError(404, "Nothing here")
        return await super().issue(request)


async def test_gap_in_the_numbers_is_believed_only_while_a_known_issue_answers():
    async with answered_by(Vanishing, MANY) as sandbox:
        numbers = sorted(entity.id for entity in sandbox.state.entities())
        whole = await read_to_the_end(source(sandbox.url, issue_numbers=f"1-{numbers[-1]}"), "issues")
        assert [entity.ref for page in whole for entity in page.entities] == [issue(number) for number in numbers]
        sandbox.reads.last = numbers[50]
        with pytest.raises(errors.RetriableError, match="gaps in the numbers are not trusted"):
            await read_to_the_end(source(sandbox.url, issue_numbers=f"1-{numbers[-1]}"), "issues")
        resumed = next(page.next for page in whole if page.next and json.loads(page.next)["after"] > numbers[50])
        with pytest.raises(errors.RetriableError, match="gaps in the numbers are not trusted"):
            await source(sandbox.url, issue_numbers=f"1-{numbers[-1]}").read("issues", resumed)


async def test_gap_in_the_numbers_is_believed_though_the_issue_before_it_goes():
    class Deleting(Reads):
        deleted = ""

        async def issue(self, request):
            if request.match_info["number"] == self.deleted:
                raise RefusedError(404, "Nothing here")
            return await super().issue(request)

    async with answered_by(Deleting, MANY) as sandbox:
        numbers = sorted(entity.id for entity in sandbox.state.entities())
        found = source(sandbox.url, issue_numbers=f"1-{numbers[-1]}")
        pages = await read_to_the_end(found, "issues")
        page = next(page for page in pages if len(page.entities) > 1 and page.next)
        sandbox.reads.deleted = page.entities[-1].ref.id
        assert (await found.read("issues", page.next)).entities


@pytest.mark.parametrize("broken", [(500, b"odd"), (200, b'{"IssueNumber":'), (401, b"")])
async def test_one_broken_issue_of_a_range_is_one_failure_and_its_files_are_had(broken, tmp_path):
    class Broken(Reads):
        async def issue(self, request):
            if request.match_info["number"] == str(busiest(self._sandbox)):
                return web.Response(status=broken[0], body=broken[1])
            return await super().issue(request)

    async with answered_by(Broken, SMALL) as sandbox:
        found = RetryingSource(source(sandbox.url, issue_numbers="1-200"), NO_PATIENCE)
        await found.check()
        summary = await run_backup(None, tmp_path, source=found)
        assert summary["status"] == "incomplete"
        assert [failure["entity"] for failure in summary["failures"]] == [str(busiest(sandbox))]
        assert summary["attachments"]["stored"] == len(told(sandbox))


@pytest.mark.parametrize("others", [True, False])
async def test_broken_number_is_told_beside_gaps_but_not_where_all_are_broken(others):
    async def ask(number: str) -> dict[str, object]:
        if number == "7" or not others:
            raise errors.RetriableError("status 500", status=500)
        raise errors.GoneError("status 404", status=404)

    numbered = IssueRange("Issue", "1-40", ask, lambda _: None)
    for _ in range(2 if others else 9):
        with pytest.raises(errors.RetriableError):
            await numbered.page(None)
    if others:
        page = await numbered.page(None)
        assert [one.ref for one in page.unread] == [issue(7)]
        assert [entity.ref for entity in page.ask] == [issue(7)]


async def test_range_that_the_account_may_not_read_at_all_is_a_wrong_key():
    async with IssuetrakSandbox(SMALL, refusal_status=403) as sandbox:
        with pytest.raises(errors.AuthError, match="API key"):
            await source(sandbox.url, "wrong", issue_numbers="1-200").read("issues", None)


async def test_pages_too_small_to_overlap_are_a_configuration_error():
    with pytest.raises(errors.ConfigError, match="page_size"):
        source(nowhere(), page_size=19)


@pytest.mark.parametrize("numbers", ["5000", "5-1", "a-b", "-1-5", "1-99999999999"])
async def test_range_that_is_none_is_a_mistake_in_the_configuration(numbers):
    with pytest.raises(errors.ConfigError, match="issue_numbers"):
        await source(nowhere(), issue_numbers=numbers).check()


async def test_issue_deleted_while_pages_are_read_hides_no_other():
    async with IssuetrakSandbox(MANY) as sandbox:
        found, seen, cursor = source(sandbox.url, page_size=20), set(), None
        all_ids = [entity.id for entity in sandbox.state.entities()]
        shown = sandbox.state.entities
        while True:
            page = await found.read("issues", cursor)
            seen |= {entity.ref for entity in page.entities}
            if cursor is None:
                sandbox.state.entities = lambda: [entity for entity in shown() if entity.id != min(all_ids)]
            if (cursor := page.next) is None:
                break
        assert seen == {issue(number) for number in all_ids}


def test_what_did_not_change_looks_alike_whenever_it_is_asked_for():
    def told(moment):
        metadata = [{"Key": "APIVersion", "Value": "v1"}, {"Key": "QueryDate", "Value": moment}]
        return {"AttachmentID": 5, "FileName": "a", "Metadata": metadata}

    issue = EntityRef("Issue", "1")
    first, later = (attachment_in(told(f"2026-01-31T09:00:0{n}Z"), issue) for n in (1, 2))
    assert first == later
    assert json.loads(first.raw)["Metadata"] == [{"Key": "APIVersion", "Value": "v1"}]


async def test_server_that_gives_the_same_page_again_and_again_is_not_believed():
    async def search(request):
        size = (await request.json())["PageSize"]
        some = [{"IssueNumber": number, "Subject": "x"} for number in range(1, size + 1)]
        return web.json_response({"PageSize": size, "CountForPage": size, "Collection": some})

    async with serving(web.post("/api/v1/issues/search", search)) as url:
        with pytest.raises(errors.RejectedError, match="same page"):
            await read_to_the_end(source(url, page_size=20), "issues")


@given(st.integers(0, 10**8), st.integers(20, 1000))
def test_window_holds_the_item_and_a_good_many_after_it(offset, longest):
    index, size = page_window(offset, longest)
    assert size <= longest
    assert index * size <= offset
    assert offset + 1 < (index + 1) * size


@pytest.mark.parametrize("status", [403, 404, 405])
async def test_any_listing_that_answers_proves_that_the_api_is_there(status):
    class Lacking(Reads):
        async def priorities(self, _):
            raise RefusedError(status, "no")

    async with answered_by(Lacking, SMALL) as sandbox:
        for tracker in (source(sandbox.url), source(sandbox.url, issue_numbers="101-200"), target(sandbox.url)):
            assert await tracker.check()


@pytest.mark.parametrize("kind", ["source", "numbers", "target"])
async def test_web_server_that_is_no_issuetrak_never_looks_like_an_empty_one(kind):
    async with serving(web.get("/{rest:.*}", always(status=404, text="<html>no</html>"))) as url:
        tracker = {
            "source": source(url),
            "numbers": source(url, issue_numbers="1-40"),
            "target": target(url),
        }[kind]
        with pytest.raises(errors.TrackerUnreachableError, match="no Issuetrak"):
            await tracker.check()
        if kind != "target":
            with pytest.raises((errors.TrackerUnreachableError, errors.ConfigError)):
                await crawl(tracker)


# --- files


@pytest.mark.parametrize(
    "answer",
    [
        '{"AttachmentID": 1, "FileSizeInBytes": 3, "FileContent": null}',
        '{"AttachmentID": 1, "FileSizeInBytes": 3}',
        '{"AttachmentID": 1, "FileSizeInBytes": 4, "FileContent": "QUJD"}',
        '{"AttachmentID": 1, "FileSizeInBytes": null, "FileContent": null}',
        '{"AttachmentID": 1, "FileSizeInBytes": -1, "FileContent": ""}',
        '{"AttachmentID": 1, "FileSizeInBytes": null, "FileContent": "QUJ"}',
        '{"AttachmentID": 1, "FileSizeInBytes": null, "FileContent": "QUJD"',
        '{"AttachmentID": 1, "FileSizeInBytes": 0, "FileContent": "QUJD',
        '{"AttachmentID": 1, "FileSizeInBytes": 0, "FileContent": "QU?D"}',
        '{"AttachmentID": 1, "FileSizeInBytes": 3, "FileContent": "QUJ"}',
        '{"AttachmentID": 1, "FileSizeInBytes": 3, "FileContent": ["QUJD"]}',
        '["QUJD"]',
        "QUJD",
        "",
        "<html><body>Please log in</body></html>",
    ],
)
async def test_answer_that_is_not_the_file_is_never_taken_for_it(answer):
    kind = "text/html" if answer.startswith("<") else "application/json"
    async with serving(web.get("/api/v1/attachments/1/true", always(text=answer, content_type=kind))) as url:
        with pytest.raises(errors.UnexpectedBodyError):
            await source(url).download(Attachment("1", issue(1), "a.txt", 3), MemorySink())


@pytest.mark.parametrize("told", ["null", "0", "-1", '"x"', None])
@pytest.mark.parametrize("last", [True, False])
async def test_file_whose_size_is_told_as_none_is_the_file(told, last):
    size = "" if told is None else f'"FileSizeInBytes": {told}'
    content = '"FileContent": "QUJD"'
    answer = "{" + ", ".join(part for part in ([content, size] if last else [size, content]) if part) + "}"

    async def listed(_):
        given = {} if told is None else {"FileSizeInBytes": json.loads(told)}
        return web.json_response({"Collection": [{"AttachmentID": 1, "FileName": "a.txt", **given}]})

    async with serving(
        web.get("/api/v1/attachments/1/true", always(text=answer, content_type="application/json")),
        web.get("/api/v1/attachments/issuenumber/1/false", listed),
    ) as url:
        found = VerifiedSource(source(url))
        [file] = await found.attachments_of(Entity(issue(1)))
        bucket = await fetch(found, file)
        assert bytes(bucket.content) == b"ABC"
        assert [warning for warning in bucket.warnings if "3 bytes came" in warning] == bucket.warnings != []


@pytest.mark.parametrize("listed", [1, 2, 4, 3 + 10**6, 10**17])
@pytest.mark.parametrize("told", ["3", "null"])
async def test_file_with_a_wrong_listed_size_is_taken_if_the_answer_is_whole(listed, told):
    answer = f'{{"FileSizeInBytes": {told}, "FileContent": "QUJD"}}'
    async with serving(web.get("/api/v1/attachments/1/true", always(text=answer))) as url:
        bucket = await fetch(VerifiedSource(source(url)), Attachment("1", issue(1), "a.txt", listed))
        assert bytes(bucket.content) == b"ABC"
        assert f"listed with {listed} bytes, 3 came" in bucket.warnings


@pytest.mark.parametrize("status", [400, 403, 404, 405, 410, 422, 501])
async def test_only_404_and_410_say_that_a_file_is_gone(status):
    async with serving(web.get("/api/v1/attachments/1/true", always(status=status, text="no"))) as url:
        with pytest.raises(errors.RejectedError) as caught:
            await source(url).download(Attachment("1", issue(1), "a.txt", 3), MemorySink())
        assert isinstance(caught.value, errors.GoneError) == (status in {404, 410})


async def test_server_that_tells_only_the_file_size_sends_an_empty_one_as_null():
    answer = {"AttachmentID": 1, "FileSizeInBytes": 0, "FileContent": None}
    async with serving(web.get("/api/v1/attachments/1/true", always(text=json.dumps(answer)))) as url:
        bucket = MemorySink()
        await source(url).download(Attachment("1", issue(1), "a.txt", 0), bucket)
        assert bucket.sha256 == sha256(b"")


@pytest.mark.parametrize("seed", range(3))
async def test_every_file_arrives_in_spite_of_faults(seed):
    faults = Faults(
        seed,
        error_500=0.05,
        dropped=0.05,
        truncated=0.05,
        login_page=0.05,
        wrong_size=0.05,
        dribbled=0.05,
        gzipped=0.05,
    )
    async with IssuetrakSandbox(SMALL, faults, escaped=True) as sandbox:
        patient = RetryingSource(VerifiedSource(source(sandbox.url)), NO_PATIENCE)
        done = await crawl(patient)
        found = []
        for file in done.attachments.values():
            bucket = await fetch(patient, file)
            found.append(Expected(file.owner, file.name, len(bucket.content), bucket.sha256))
        assert Counter(found) == Counter(told(sandbox))
        assert faults.injected.total() > 5


async def test_login_page_in_place_of_a_file_is_no_file():
    async with IssuetrakSandbox(SMALL, Faults(login_page=1.0)) as sandbox:
        bucket = MemorySink()
        file = told(sandbox)[0]
        number = next(f.id for f in sandbox.world.attachments if f.name == file.name)
        with pytest.raises(errors.LoginPageError):
            await source(sandbox.url).download(Attachment(str(number), file.owner, file.name), bucket)
        assert not bucket.content


# --- archives of many files

ZIP = "GET /api/v1/attachments/compressed/{how}/{number}"
ALONE = "GET /api/v1/attachments/{number}/{content}"


def crowded(sandbox: IssuetrakSandbox) -> list[Expected]:
    """The files of the issue that has the most."""
    return [file for file in told(sandbox) if file.owner == issue(busiest(sandbox))]


async def fetched(found, sandbox: IssuetrakSandbox) -> list[Expected]:
    files = await found.attachments_of(Entity(issue(busiest(sandbox))))
    buckets = [MemorySink() for _ in files]
    await asyncio.gather(*(found.download(file, bucket) for file, bucket in zip(files, buckets, strict=True)))
    pairs = zip(files, buckets, strict=True)
    return [Expected(file.owner, file.name, len(bucket.content), bucket.sha256) for file, bucket in pairs]


async def test_many_small_files_come_with_one_request():
    async with IssuetrakSandbox(SMALL) as sandbox:
        assert Counter(await fetched(source(sandbox.url, zip=True), sandbox)) == Counter(crowded(sandbox))
        assert (sandbox.requests[ZIP], sandbox.requests[ALONE]) == (1, 0)
        await fetched(source(sandbox.url), sandbox)
        assert (sandbox.requests[ZIP], sandbox.requests[ALONE]) == (1, len(crowded(sandbox)))


async def test_file_that_is_asked_for_a_second_time_comes_alone():
    async with IssuetrakSandbox(SMALL) as sandbox:
        found = source(sandbox.url, zip=True)
        file, *_ = await found.attachments_of(Entity(issue(busiest(sandbox))))
        for _ in range(2):
            await found.download(file, MemorySink())
        assert (sandbox.requests[ZIP], sandbox.requests[ALONE]) == (1, 1)


async def test_zip_bomb_is_not_unpacked_and_the_files_come_alone():
    async with IssuetrakSandbox(SMALL, zip_bomb=True) as sandbox:
        assert Counter(await fetched(source(sandbox.url, zip=True), sandbox)) == Counter(crowded(sandbox))
        assert sandbox.requests[ALONE] == len(crowded(sandbox))


async def test_large_files_are_not_held_in_memory_for_an_archive(monkeypatch):
    monkeypatch.setattr("migrator.trackers.issuetrak.zip_batches.MAX_ZIP_BYTES", 1000)
    async with IssuetrakSandbox(SMALL) as sandbox:
        await fetched(source(sandbox.url, zip=True), sandbox)
        assert not sandbox.requests[ZIP]


async def test_archives_in_memory_are_few(monkeypatch):
    monkeypatch.setattr("migrator.trackers.issuetrak.zip_batches.MAX_OPEN_ZIPS", 1)
    monkeypatch.setattr("migrator.trackers.issuetrak.zip_batches.MIN_FILES", 2)
    async with IssuetrakSandbox(SMALL) as sandbox:
        found, expected = source(sandbox.url, zip=True), {file.sha256 for file in told(sandbox)}
        done = await crawl(found)
        by_turns = sorted(done.attachments.values(), key=lambda file: int(file.id))
        assert {(await fetch(found, file)).sha256 for file in by_turns} == expected


@pytest.mark.parametrize(
    "change",
    [
        {"CompressedAttachmentsContent": "UEsDBA=="},
        {"CompressedAttachmentsContent": "?"},
        {"CompressedAttachmentsContent": None},
        {"QueryResults": None},
        {"QueryResults": {"Collection": [{"AttachmentID": 1, "ExtensionData": None}]}},
        {"QueryResults": {"Collection": [{"AttachmentID": 1, "ExtensionData": [{"Key": "CompressedEntryName"}]}]}},
    ],
)
async def test_odd_archive_leaves_its_files_to_come_alone(change):
    content, number = b"from the archive", "1"
    names, packed = zipped([content], bomb=False)
    entry = [{"Key": "CompressedEntryName", "Value": names[0]}]
    good = {
        "QueryResults": {"Collection": [{"AttachmentID": 1, "ExtensionData": entry}]},
        "CompressedAttachmentsContent": base64.b64encode(packed).decode(),
    }
    files = tuple(Attachment(number if n == 0 else f"x{n}", issue(1), "a.txt", len(content)) for n in range(4))
    for answer, expected in ((good, content), (good | change, None)):

        async def fetch_archive(_: EntityRef, answer=answer):
            return answer

        archives = ZipBatches(fetch_archive)
        archives.plan(issue(1), files)
        assert await archives.take(files[0]) == expected


async def test_plans_of_files_that_nobody_fetches_are_few(monkeypatch):
    monkeypatch.setattr("migrator.trackers.issuetrak.zip_batches.MAX_PLANNED", 2)
    asked = []

    async def fetch_archive(owner: EntityRef):
        asked.append(owner)
        return {}

    archives = ZipBatches(fetch_archive)
    for number in range(4):
        archives.plan(issue(number), tuple(Attachment(f"{number}-{n}", issue(number), "", 1) for n in range(4)))
    for number in range(4):
        await archives.take(Attachment(f"{number}-0", issue(number), "", 1))
    assert asked == [issue(2), issue(3)]


# --- uploads


async def test_author_and_date_are_kept_where_the_author_is_an_active_user():
    async with IssuetrakSandbox(SMALL) as sandbox:
        made = await send(target(sandbox.url), busiest(sandbox), author="ann LEE", date="2020-02-03T04:05:06.5+02:00")
        assert record(sandbox, made) == ("ann LEE", "2020-02-03T02:05:06.500")
        assert made.created_by == "ann LEE"


@pytest.mark.parametrize("author", ["", "Nobody", "José Núñez", "../admin", "x" * 200, "محمد"])
@pytest.mark.parametrize("tells_active", [True, False])
async def test_file_of_an_unknown_or_inactive_author_goes_to_the_configured_user(author, tells_active):
    async with IssuetrakSandbox(SMALL, tells_active=tells_active) as sandbox:
        goal = target(sandbox.url)
        number = busiest(sandbox)
        made = [await send(goal, number, f"{n}.txt", author=author) for n in range(2)]
        assert [record(sandbox, file)[0] for file in made] == ["APIUser"] * 2
        assert [file.created_by for file in made] == ["APIUser"] * 2
        retried = author == "José Núñez" and not tells_active
        assert sandbox.requests[UPLOAD] == (3 if retried else 2)
        assert sandbox.requests["GET /api/v1/users/{user}/{photo}"] <= 1


async def test_file_of_an_unknown_author_is_refused_unsent_without_default_user():
    async with IssuetrakSandbox(SMALL) as sandbox:
        with pytest.raises(errors.RejectedError, match="created_by"):
            await send(target(sandbox.url, created_by=""), busiest(sandbox), author="Nobody")
        assert not sandbox.requests[UPLOAD]


async def test_authors_are_not_kept_where_the_configuration_says_so():
    async with IssuetrakSandbox(SMALL) as sandbox:
        made = await send(target(sandbox.url, keep_author=False), busiest(sandbox), author="Ann Lee")
        assert record(sandbox, made)[0] == "APIUser"
        assert not sandbox.requests["GET /api/v1/users/{user}/{photo}"]


@pytest.mark.parametrize("user", ["Nobody", "José Núñez"])
async def test_configured_user_that_is_not_active_is_a_configuration_error(user):
    async with IssuetrakSandbox(SMALL) as sandbox:
        with pytest.raises(errors.ConfigError, match="created_by"):
            await target(sandbox.url, created_by=user).check()


async def test_bad_upload_is_not_blamed_on_its_author():
    async with IssuetrakSandbox(SMALL) as sandbox:
        goal = target(sandbox.url)
        with pytest.raises(errors.RejectedError) as caught:
            await send(goal, busiest(sandbox), "what?.txt", author="Ann Lee")
        assert caught.value.status == 400
        made = await send(goal, busiest(sandbox), "what.txt", author="Ann Lee")
        assert record(sandbox, made)[0] == "Ann Lee"


def test_dates_go_to_the_zone_of_the_server_and_lose_their_offset():
    new_york = ZoneInfo("America/New_York")
    assert api_date("2014-07-01T12:00:00Z", new_york) == "2014-07-01T08:00:00.0000000"
    assert api_date("2014-01-01T11:30:10.0000000", new_york) == "2014-01-01T11:30:10.0000000"
    assert api_date("2014-01-01", timezone(timedelta(hours=9))) == "2014-01-01T00:00:00.0000000"
    for nonsense in ("", "yesterday", "0001-01-01T00:00:00+14:00"):
        assert len(api_date(nonsense, UTC)) == len("2014-01-01T11:30:10.0000000")


async def test_unknown_time_zone_is_a_mistake_in_the_configuration():
    for zone in ("Mars/Olympus", "../etc/passwd", ""):
        with pytest.raises(errors.ConfigError, match="time_zone"):
            target(nowhere(), time_zone=zone)


@pytest.mark.parametrize("status", [404, 413])
async def test_file_that_is_too_large_for_the_server_is_reported_as_such(status, monkeypatch):
    monkeypatch.setattr("migrator.trackers.issuetrak.target.LIKELY_LIMIT_BYTES", 100_000)
    async with IssuetrakSandbox(SMALL, Faults(max_upload_bytes=200_000), too_large_status=status) as sandbox:
        with pytest.raises(errors.RejectedError, match="too many for this server"):
            await send(target(sandbox.url), busiest(sandbox), content=b"x" * 160_000)
        assert not sandbox.state.uploads


async def test_file_over_the_configured_limit_is_not_sent():
    async with IssuetrakSandbox(SMALL) as sandbox:
        with pytest.raises(errors.RejectedError, match="max_bytes"):
            await send(target(sandbox.url, max_bytes=10), busiest(sandbox), content=b"x" * 11)
        assert await send(target(sandbox.url, max_bytes=10), busiest(sandbox), content=b"x" * 10)
        assert sandbox.requests[UPLOAD] == 1


async def loaded(sandbox: IssuetrakSandbox, root) -> int:
    """Loads three files onto as many issues; the exit status."""
    tracker = MemoryTracker()
    owners = [tracker.add("Bug") for _ in range(3)]
    for number, owner in enumerate(owners):
        tracker.attach(owner, f"{number}.txt", b"%d" % number)
    if not (root / "catalog.db").exists():
        await run_backup(tracker, root)
    mapping = {owner: (issue(entity.id),) for owner, entity in zip(owners, SMALL.entities, strict=False)}
    try:
        goal = RetryingTarget(target(sandbox.url), NO_PATIENCE)
        summary = await run_load(None, root, mapping, target=goal, identity="issuetrak")
    except errors.MigratorError as error:
        return error.exit_code
    return 0 if summary["status"] == "complete" else 3


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("words", WORDS)
async def test_nothing_is_loaded_where_lists_cannot_be_read(words, full, tmp_path):
    world = SMALL if full else SMALL.without_attachments()
    async with IssuetrakSandbox(world, routes=(), no_route=(404, words)) as sandbox:
        for _ in range(2):
            assert await loaded(sandbox, tmp_path) == 4
        assert not sandbox.state.uploads


@pytest.mark.parametrize("full", [True, False])
async def test_nothing_is_sent_twice_where_lists_turn_out_not_to_be_readable(full, tmp_path):
    """In words that make a list look known and empty: the first file shows that it is not, and ends the load."""
    async with answered_by(Walled, SMALL if full else SMALL.without_attachments()) as sandbox:
        sent = [(await loaded(sandbox, tmp_path), len(sandbox.state.uploads)) for _ in range(3)]
        assert [count for _, count in sent] == [1, 2, 3]
        assert [status for status, _ in sent][:2] == [4, 4]
        files = [file for entity in SMALL.entities for file in sandbox.state.files_of(entity.id)]
        assert len({file.name for file in files if file.id in sandbox.state.uploads}) == 3
        await loaded(sandbox, tmp_path)
        assert len(sandbox.state.uploads) == 3


async def test_first_file_of_an_empty_tracker_shows_where_lists_are(tmp_path):
    async with IssuetrakSandbox(SMALL.without_attachments(), routes=("issue",)) as sandbox:
        assert [await loaded(sandbox, tmp_path) for _ in range(2)] == [0, 0]
        assert len(sandbox.state.uploads) == 3


async def test_upload_without_an_answer_is_unanswered_and_sent_once():
    async with IssuetrakSandbox(SMALL, Faults(lose_upload_answers=1)) as sandbox:
        goal = RetryingTarget(target(sandbox.url), NO_PATIENCE)
        with pytest.raises(errors.OutcomeUnknownError):
            await send(goal, busiest(sandbox))
        assert len(sandbox.state.uploads) == 1


async def test_answer_without_a_number_means_look():
    async with IssuetrakSandbox(SMALL, answer="quoted") as sandbox:
        made = await send(target(sandbox.url), busiest(sandbox))
        assert made.id in {str(number) for number in sandbox.state.uploads}
    assert [created_in(answer) for answer in (7, "7", " 7\n", {"AttachmentID": 7})] == ["7"] * 4
    assert [created_in(answer) for answer in (None, True, -1, 0, "x", [], {}, 1.5)] == [None] * 8


# --- names


@given(st.text(max_size=400) | st.sampled_from(NASTY))
def test_any_name_becomes_one_that_windows_and_the_server_take(name):
    goal = IssuetrakTarget(HttpClient("http://127.0.0.1:1", HmacAuth("k")), Options())
    can = goal.capabilities
    sent = name_at_target(name, goal.legal_name, can.max_name_bytes, {goal.legal_name(name)}, can.name_encoding)
    assert complaint_about(sent) == ""
    if not complaint_about(name):
        assert sent == name


@pytest.mark.parametrize(
    ("name", "legal"),
    [
        ("CON.txt", "_CON.txt"),
        ("com1", "_com1"),
        ("LPT³.log", "_LPT³.log"),
        ("console.txt", "console.txt"),
        ('a/b\\c:d*e?f"g<h>i|j.txt', "a_b_c_d_e_f_g_h_i_j.txt"),
        ("trailing.txt. .", "trailing.txt"),
        (" . ", "_"),
        (".htaccess", ".htaccess"),
        ("\ud83d.txt", "_.txt"),
    ],
)
def test_illegal_names_keep_what_is_legal_of_them(name, legal):
    goal = IssuetrakTarget(HttpClient("http://127.0.0.1:1", HmacAuth("k")), Options())
    assert goal.legal_name(name) == legal


def test_names_are_cut_at_150_windows_characters_before_the_extension():
    def sent(name: str, *taken: str) -> str:
        return name_at_target(name, str, 300, taken, "utf-16-le")

    assert sent("ä" * 200 + ".txt") == "ä" * 146 + ".txt"
    assert sent("😀" * 100 + ".txt") == "😀" * 73 + ".txt"
    assert sent("n" * 150, "n" * 150) == "n" * 150
    assert sent("n" * 151, "n" * 150) == "n" * 146 + " (2)"


# --- malformed answers


@pytest.mark.parametrize(
    "answer",
    [
        *(None, [], 1, "x", {}, {"Collection": None}, {"Collection": [1]}, {"Collection": [{}], "CountForPage": 2}),
        {"Collection": [{}]},
        {"Collection": [{"AttachmentID": "x", "IssueNumber": []}]},
    ],
)
async def test_malformed_lists_end_in_our_words(answer):
    async with serving(
        web.get("/{rest:.*}", always(text=json.dumps(answer))),
        web.post("/{rest:.*}", always(text=json.dumps(answer))),
    ) as url:
        for call in (source(url).read("issues", None), target(url).find_attachments(issue(1))):
            with pytest.raises(errors.UnexpectedBodyError):
                await call


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), lambda v: st.lists(v, max_size=3)))
def test_odd_values_in_a_record_count_as_missing(value):
    record = dict.fromkeys(("FileName", "CreatedBy", "CreatedDate", "FileSizeInBytes", "ExtensionData"), value)
    found = attachment_in({"AttachmentID": 7, **record}, issue(1))
    assert found.id == "7"
    assert found.name == (value if isinstance(value, str) else "")
    assert found.size is None or isinstance(found.size, int)
    assert json.loads(found.raw) is not None


def test_only_a_user_that_says_so_is_inactive():
    assert is_active({"UserID": "a"})
    assert is_active({"UserID": "a", "IsActive": True, "inactive": False})
    for told_so in ({"IsActive": False}, {"active": False}, {"IsInactive": True}, {"Inactive": True}, {}):
        assert not is_active(told_so)


def test_count_that_is_not_told_is_not_checked():
    assert collection_in({"Collection": [{"a": 1}]}) == [{"a": 1}]


async def test_oddities_are_told_with_what_they_mean():
    async with IssuetrakSandbox(MANY, page_cap=25) as sandbox:
        assert await source(sandbox.url, page_size=20).oddities() == ()
        assert await target(sandbox.url).oddities() == ()
        [words] = await source(sandbox.url).oddities()
        assert "a page of a search has 25 issues" in words
        [words] = await source(sandbox.url, issue_numbers="1-200").oddities()
        assert "outside of 1-200" in words
    async with IssuetrakSandbox(MANY.without_attachments()) as sandbox:
        for tracker in (source(sandbox.url), target(sandbox.url)):
            [words] = await tracker.oddities()
            assert "list_route" in words
        sandbox.state.entities = list
        assert "no issue is found" in (await source(sandbox.url).oddities())[0]


async def test_adapter_is_registered_and_checks_in_words():
    assert adapter("issuetrak") is ADAPTER
    async with IssuetrakSandbox(SMALL) as sandbox:
        assert "12 issues" in await source(sandbox.url).check()
        assert "1 to 9" in await source(sandbox.url, issue_numbers="1-9").check()
        assert "APIUser" in await target(sandbox.url).check()
        assert "not set" in await target(sandbox.url, created_by="").check()


# --- the whole way


async def test_teampulse_goes_to_issuetrak_exactly_once_in_spite_of_lost_answers(tmp_path):
    faults = Faults(seed=2, error_500=0.03, lose_upload_rate=0.2, fail_upload_rate=0.1)
    async with TeamPulseSandbox(SMALL) as old, IssuetrakSandbox(SMALL.without_attachments(), faults) as new:
        archive, catalog = Archive(tmp_path), Catalog(tmp_path)
        archive.prepare()
        http = HttpClient(old.url, adapter("teampulse").signer(old.credentials))
        closed_later(http)
        found = adapter("teampulse").source(http, adapter("teampulse").options())
        await backup(found, archive, catalog, BackupSettings("teampulse", downloads=4))
        mapping = {EntityRef(old.kind_of(e.id), str(e.id)): (issue(e.id),) for e in SMALL.entities}
        settings = LoadSettings("issuetrak", mapping, look_again=0.0)
        goal = RetryingTarget(target(new.url, time_zone="UTC"), NO_PATIENCE)
        summaries = [(await load(goal, archive, catalog, settings)).as_json() for _ in range(3)]
        catalog.close()
        assert summaries[-1]["status"] == "complete", summaries[-1]["failures"]
        assert faults.injected["lose_upload_answers"] > 0
        expected = Counter((file.owner.id, file.sha256) for file in told(IssuetrakSandbox(SMALL)))
        arrived = [(str(e.id), file) for e in SMALL.entities for file in new.state.files_of(e.id)]
        assert Counter((owner, file.sha256) for owner, file in arrived) == expected
        assert all(complaint_about(file.name) == "" for _, file in arrived)
        assert len(new.state.uploads) == expected.total()
        authors = {author for author, _ in new.records.given.values()}
        assert "Ann Lee" in authors
        assert not authors & {"José Núñez"}


async def test_an_issue_has_the_date_that_the_option_names():
    async with IssuetrakSandbox(SMALL, change_date="ModifiedOn") as sandbox:
        for name, dated in (("ModifiedOn", True), ("LastModifiedDate", False)):
            page = await source(sandbox.url, change_date=name).read("issues", None)
            assert {bool(entity.modified_at) for entity in page.ask} == {dated}
        numbered = source(sandbox.url, change_date="ModifiedOn", issue_numbers="101-130")
        assert all(entity.modified_at for entity in (await numbered.read("issues", None)).ask)
