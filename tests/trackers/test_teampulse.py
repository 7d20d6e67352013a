"""TeamPulse keeps the port, whatever its server can do, and each of its oddities is met."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import quote

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from migrator import errors
from migrator.layers.retry import RetryingSource, RetryingTarget
from migrator.layers.retry_policy import RetryPolicy
from migrator.layers.verify import VerifiedSource
from migrator.model import NOBODY, Attachment, Draft, Entity, EntityRef
from migrator.sandbox.errors import RefusedError
from migrator.sandbox.faults import Faults
from migrator.sandbox.server import show_login, to_login
from migrator.sandbox.teampulse.app import TeamPulseSandbox
from migrator.sandbox.teampulse.lists import Lists
from migrator.sandbox.teampulse.reads import Reads
from migrator.sandbox.teampulse.records import Records
from migrator.sandbox.teampulse.web import FilePages
from migrator.sandbox.teampulse.writes import Writes
from migrator.sandbox.world.model import World
from migrator.testing import (
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
from migrator.trackers.teampulse import ADAPTER, Options, TeamPulseSource, TeamPulseTarget
from migrator.trackers.teampulse.parse import attachment_in, created_in, entity_in, paths_in
from migrator.wire.auth import WrapAuth
from migrator.wire.client import HttpClient

WORLD = World.generate(entities=60, seed=7, median_bytes=2_000, large_bytes=2_500_000)
SMALL = World.generate(entities=12, seed=3, median_bytes=500, large_bytes=0)
HIDDEN_SIZES = (1, 5)
NO_PATIENCE = RetryPolicy(backoff=0, backoff_max=0)


def client(sandbox: TeamPulseSandbox, **auth: str) -> HttpClient:
    return HttpClient(sandbox.url, ADAPTER.signer(auth or sandbox.credentials))


def source(sandbox: TeamPulseSandbox, page_size: int = 100, **auth: str) -> TeamPulseSource:
    return TeamPulseSource(client(sandbox, **auth), Options(page_size=page_size))


def target(sandbox: TeamPulseSandbox, **auth: str) -> TeamPulseTarget:
    return TeamPulseTarget(client(sandbox, **auth), Options(create_project="Sandbox"))


def told(sandbox: TeamPulseSandbox) -> list[Expected]:
    """All files that a source should find."""
    world, found = sandbox.world, []
    for file in world.attachments:
        if (owner := world.owner_of(file)) is not None:
            ref = EntityRef(sandbox.kind_of(owner), str(owner))
            found.append(Expected.of(ref, file.name, world.content(file), file.description or ""))
    return found


def bound_source(sandbox: TeamPulseSandbox, page_size: int = 100, **auth: str) -> BoundSource:
    files, first = told(sandbox), sandbox.world.attachments[-1]
    refs = {EntityRef(sandbox.kind_of(entity.id), str(entity.id)) for entity in sandbox.world.entities}
    gone = Attachment("99999", NOBODY, first.name, locator=f"AttachmentDownload/300021/AttachmentName/{first.name}")
    return BoundSource(
        source(sandbox, page_size, **auth),
        lambda: source(sandbox, page_size, **auth),
        refs,
        files,
        gone=gone,
        missing=Entity(EntityRef("Bug", "99999")),
        refused=lambda: source(sandbox, username="ann", password="wrong"),
        unreachable=lambda: TeamPulseSource(HttpClient(nowhere(), WrapAuth("ann", "x")), Options()),
    )


class SourceBound(SourceContract):
    """Each subclass is another server."""

    world = SMALL
    page_size = 100
    oddities: dict[str, object] = {}  # noqa: RUF012

    @pytest.fixture
    async def bound(self):
        async with TeamPulseSandbox(self.world, null_sizes=HIDDEN_SIZES, **self.oddities) as sandbox:
            bound = bound_source(sandbox, self.page_size)
            yield bound
            await bound.source.close()


class TestSource(SourceBound):
    world = WORLD


class TestSourceInSmallPages(SourceBound):
    page_size = 3


class TestSourceInAVirtualDirectory(SourceBound):
    oddities = {"base_path": "/tools/TeamPulse"}  # noqa: RUF012


class TestSourceThatCannotSort(SourceBound):
    page_size = 4
    oddities = {"sortable": False}  # noqa: RUF012


class TestSourceThatCountsThePageOnly(SourceBound):
    page_size = 5
    oddities = {"totals_of_page": True}  # noqa: RUF012


class TestSourceThatGivesLessThanAskedFor(SourceBound):
    oddities = {"top_cap": 7}  # noqa: RUF012


class TestSourceWhoseTokensDieAtOnce(SourceBound):
    page_size = 5
    oddities = {"token_lifetime_requests": 20}  # noqa: RUF012


class TestSourceWhoseRefreshTokensAreDeadToo(SourceBound):
    page_size = 5
    oddities = {"token_lifetime_requests": 20, "refresh_dies": True}  # noqa: RUF012


class TestSourceByCookie(SourceContract):
    @pytest.fixture
    async def bound(self):
        async with TeamPulseSandbox(SMALL, null_sizes=HIDDEN_SIZES) as sandbox:
            bound = bound_source(sandbox, cookie=sandbox.cookie)
            bound.refused = lambda: source(sandbox, cookie=".ASPXAUTH=stale")
            yield bound
            await bound.source.close()


def bound_target(sandbox: TeamPulseSandbox, wrap=lambda target: target) -> BoundTarget:
    busiest = Counter(file.owner for file in told(sandbox)).most_common(1)[0][0]
    sandbox.quirks.null_sizes = {sandbox.state.files_of(int(busiest.id))[0].id}

    async def files_of(ref: EntityRef):
        return [(f.name, f.size, f.sha256, f.description or "") for f in sandbox.state.files_of(int(ref.id))]

    return BoundTarget(
        wrap(target(sandbox)),
        lambda: wrap(target(sandbox)),
        busiest,
        EntityRef("Bug", "99999"),
        files_of,
        gone=Attachment("99999", busiest, "x", locator="AttachmentDownload/300015/AttachmentName/x"),
        refused=lambda: wrap(target(sandbox, username="ann", password="wrong")),
        unreachable=lambda: wrap(TeamPulseTarget(HttpClient(nowhere(), WrapAuth("ann", "x")), Options())),
        limits_names=False,
    )


class TestTarget(TargetContract):
    @pytest.fixture(params=["", "/tools/TeamPulse"])
    async def bound(self, request):
        async with TeamPulseSandbox(SMALL, base_path=request.param) as sandbox:
            bound = bound_target(sandbox)
            yield bound
            await bound.target.close()


class TestTargetThatCannotSort(TargetContract):
    @pytest.fixture
    async def bound(self):
        async with TeamPulseSandbox(SMALL, sortable=False) as sandbox:
            bound = bound_target(sandbox)
            yield bound
            await bound.target.close()


class TestTargetWhoseTokensDieAtOnce(TargetContract):
    @pytest.fixture
    async def bound(self):
        async with TeamPulseSandbox(SMALL, token_lifetime_requests=2, refresh_dies=True) as sandbox:
            bound = bound_target(sandbox)
            yield bound
            await bound.target.close()


# What is odd about TeamPulse


def composed(
    world: World = SMALL, *faults: Faults, records=Records, lists=Lists, reads=Reads, writes=Writes, **quirks
) -> TeamPulseSandbox:
    """A server with handlers of its own."""
    made = TeamPulseSandbox(world, *faults, **quirks)
    made.records = records(made.state, made.quirks, made.records.place)
    made.lists = lists(made.quirks)
    made.reads = reads(made.state, made.quirks, made.records, made.lookup, made.lists)
    made.writes = writes(made, made.quirks, made.records, made.lookup)
    return made


class UnversionedSandbox(TeamPulseSandbox):
    """A server that has the API without a version only."""

    def routes(self):
        return [route for route in super().routes() if "api/v1" not in route.path]


class SimpleLists(Lists):
    """Lists that don't know some parts of a query: they refuse them, or don't look at them."""

    refuses: tuple[str, ...] = ()
    ignores: tuple[str, ...] = ()

    def page(self, request, rows, record, known):
        if any(part in request.query for part in self.refuses):
            raise RefusedError(400, message="What is this?")
        query = {key: value for key, value in request.query.items() if key not in self.ignores}
        return super().page(request.clone(rel_url=request.rel_url.with_query(query)), rows, record, known)


class ShyReads(Reads):
    """Hides all work items from their list."""

    async def work_items(self, request):
        return web.json_response({"totalResults": 0, "results": []})


class OneWaySandbox(TeamPulseSandbox):
    """A server whose `downloadUrl` wants another login than the API's."""

    def __init__(self, *args, **quirks):
        super().__init__(*args, **quirks)
        self.file_pages = LoginFirst(self, self.login)


class LoginFirst(FilePages):
    """Pages that send everybody to log in before a download."""

    async def _download(self, request):
        return to_login(self._sandbox)


class SilentWrites(Writes):
    """Answers an upload with a text of its own."""

    answer = ""

    def created(self, collection, record):
        return web.Response(text=self.answer.replace("RECORD", json.dumps(record)), content_type="application/json")


class StubbornWrites(Writes):
    """Takes no description, and no upload over 1,000 bytes."""

    refusal = 404, "<title>404 - File or directory not found.</title>"

    async def describe_attachment(self, request):
        return web.Response(status=500)

    async def upload(self, request):
        if request.content_length > 1_000:
            status, text = self.refusal
            return web.Response(status=status, text=text, content_type="text/html")
        return await super().upload(request)


@asynccontextmanager
async def serving(made: TeamPulseSandbox, page_size: int = 100):
    """A sandbox, and a source and a target of it."""
    async with made as sandbox:
        src, dst = source(sandbox, page_size), target(sandbox)
        try:
            yield sandbox, src, dst
        finally:
            await src.close()
            await dst.close()


async def names(src: TeamPulseSource) -> Counter[tuple[EntityRef, str]]:
    return Counter((file.owner, file.name) for file in (await crawl(src)).attachments.values())


def expected_names(sandbox: TeamPulseSandbox) -> Counter[tuple[EntityRef, str]]:
    return Counter((file.owner, file.name) for file in told(sandbox))


def draft(name: str = "a.txt", size: int = 1, description: str = "") -> Draft:
    return Draft(name, "text/plain", description, size)


def test_registry_knows_teampulse():
    found = adapter("teampulse")
    assert (found.source, found.target, found.options) == (TeamPulseSource, TeamPulseTarget, Options)
    assert found.auth == (("username", "password"), ("cookie",))


async def test_check_tells_the_display_name():
    async with serving(TeamPulseSandbox(SMALL)) as (_, src, dst):
        assert await src.check() == await dst.check() == "TeamPulse as Ann Lee"


async def test_api_without_a_version_is_found_and_remembered():
    async with serving(UnversionedSandbox(SMALL), page_size=5) as (sandbox, src, dst):
        assert await names(src) == expected_names(sandbox)
        assert sandbox.requests["GET /api/users/me"] == 1
        owner = EntityRef("Story", "101")
        made = await dst.upload(owner, draft(), Bytes(b"x"))
        assert made in await dst.find_attachments(owner)


async def test_address_without_the_api_is_told_as_a_wrong_url():
    async with serving(TeamPulseSandbox(SMALL, base_path="/tp")) as (sandbox, _, _):
        elsewhere = TeamPulseSource(HttpClient(sandbox.url[:-3], ADAPTER.signer({"cookie": "x"})), Options())
        for call in (elsewhere.check(), elsewhere.read("workitems", None)):
            with pytest.raises(errors.TrackerUnreachableError, match="url"):
                await call
        await elsewhere.close()


@pytest.mark.parametrize(
    ("refuses", "ignores"),
    [
        (("$filter",), ()),
        (("$filter", "$orderby"), ()),
        ((), ("$filter",)),
        ((), ("$orderby",)),
        ((), ("$filter", "$orderby")),
        (("$filter",), ("$orderby",)),
        ((), ("$filter", "$orderby", "$skip", "$top")),
    ],
)
async def test_server_that_knows_less_of_queries_is_read_whole(refuses, ignores):
    made = composed(lists=SimpleLists, top_cap=4 if "$skip" not in ignores else 1000)
    made.lists.refuses, made.lists.ignores = refuses, ignores
    async with serving(made, page_size=4) as (sandbox, src, dst):
        done = await crawl(src)
        assert Counter((file.owner, file.name) for file in done.attachments.values()) == expected_names(sandbox)
        assert {ref.id for ref in done.entities} == {str(entity.id) for entity in sandbox.world.entities}
        for owner in {file.owner for file in told(sandbox)}:
            there = Counter(file.name for file in await dst.find_attachments(owner))
            assert there == Counter(file.name for file in told(sandbox) if file.owner == owner)


async def test_server_that_gives_the_same_page_again_and_again_is_not_believed():
    made = composed(lists=SimpleLists, top_cap=4)
    made.lists.ignores = ("$filter", "$skip")
    async with serving(made, page_size=4) as (_, src, _):
        with pytest.raises(errors.RejectedError, match="same page"):
            await read_to_the_end(src, "workitems")


@pytest.mark.parametrize("change", ["deleted", "added"])
async def test_listing_by_offset_that_changes_meanwhile_misses_nothing(change):
    made = composed(lists=SimpleLists)
    made.lists.refuses = ("$filter", "$orderby")
    async with serving(made, page_size=4) as (sandbox, src, dst):
        seen, cursor = {}, None
        while True:
            page = await src.read("attachments", cursor)
            seen |= {file.id: file for file in page.attachments}
            cursor = page.next
            if cursor is None:
                break
            if change == "deleted" and len(seen) == 4:
                for number in sorted(map(int, seen))[1:]:
                    sandbox.state.delete(number)
            if change == "added" and len(sandbox.state.uploads) < 12:
                for _ in range(6):
                    await dst.upload(EntityRef("Story", "101"), draft(), Bytes(b"x"))
        assert {str(file.id) for file in SMALL.attachments if SMALL.owner_of(file)} <= seen.keys()


async def test_owners_of_a_page_are_asked_for_together():
    async with serving(TeamPulseSandbox(World.generate(seed=2, median_bytes=9, large_bytes=0))) as (sandbox, src, _):
        page = await src.read("attachments", '{"after": 100}')
        owners = {file.owner for file in page.attachments}
        assert (len(page.attachments), len(owners) > 40, NOBODY in owners) == (100, True, False)
        assert sandbox.requests["GET /api/v1/workitems"] == -(-len(owners) // 20)
        assert not sandbox.requests["GET /api/v1/workitems/{id}"]


async def test_owners_that_no_list_shows_are_asked_for_one_by_one():
    async with serving(composed(reads=ShyReads)) as (sandbox, src, _):
        assert await names(src) == expected_names(sandbox)


async def test_files_of_work_items_that_cannot_be_read_belong_to_nobody():
    hidden = told(TeamPulseSandbox(SMALL))[0].owner
    faults = Faults(forbidden_entities={int(hidden.id)})
    async with serving(composed(SMALL, faults, reads=ShyReads)) as (sandbox, src, _):
        found = (await crawl(src)).attachments.values()
        of_nobody = [file for file in found if file.owner == NOBODY]
        assert len(of_nobody) == len([file for file in told(sandbox) if file.owner == hidden]) > 0
        assert {json.loads(file.raw)["workItemId"] for file in of_nobody} == {int(hidden.id)}
        with pytest.raises(errors.ForbiddenError):
            await fetch(src, of_nobody[0])


async def test_deleted_work_items_are_read_too():
    async with serving(TeamPulseSandbox(WORLD)) as (_, src, _):
        done = await crawl(src)
        statuses = {json.loads(entity.raw)["fields"]["Status"] for _, _, p in done.steps for entity in p.entities}
        assert "Deleted" in statuses


async def test_work_item_has_its_title_type_and_address():
    async with serving(TeamPulseSandbox(SMALL, base_path="/tp")) as (sandbox, src, _):
        first = (await src.read("workitems", None)).entities[0]
        assert (first.ref, first.title) == (EntityRef("Story", "101"), SMALL.entities[0].title)
        assert first.url == f"{sandbox.url}/view#item/101"


async def test_files_of_comments_keep_the_number_of_the_comment():
    async with serving(TeamPulseSandbox(WORLD)) as (_, src, _):
        found = (await crawl(src)).attachments
        for file in WORLD.attachments:
            if WORLD.owner_of(file) is not None:
                assert found[str(file.id)].comment_id == (None if file.comment_id is None else str(file.comment_id))
        assert any(file.comment_id for file in found.values())


async def test_attachment_has_its_author_and_its_date_without_a_zone():
    async with serving(TeamPulseSandbox(SMALL)) as (_, src, _):
        first, file = (await src.read("attachments", None)).attachments[0], SMALL.attachments[0]
        assert first.created_by == file.author
        assert first.created_at == file.created_at.strftime("%Y-%m-%dT%H:%M:%S")


async def test_address_of_a_file_is_taken_as_told_but_for_the_host():
    async with serving(TeamPulseSandbox(SMALL, base_path="/tp")) as (_, src, _):
        first = (await src.read("attachments", None)).attachments[0]
        name = quote(first.name, safe="")
        assert (first.id, first.locator.split("\n")) == (
            "1",
            [f"AttachmentDownload/21/AttachmentName/{name}", f"AttachmentStreaming/21/AttachmentName/{name}"],
        )


@pytest.mark.parametrize(
    ("address", "name", "path"),
    [
        ("http://tp/AttachmentDownload/5/AttachmentName/a.txt", "a.txt", "AttachmentDownload/5/AttachmentName/a.txt"),
        ("http://tp:81/x/AttachmentDownload/5/AttachmentName/a", "a", "AttachmentDownload/5/AttachmentName/a"),
        ("http://tp/base/AttachmentStreaming/5/a", "a", "AttachmentStreaming/5/a"),
        ("/base/AttachmentStreaming/5/a", "a", "AttachmentStreaming/5/a"),
        ("http://tp/base/files/5", "a", "files/5"),
        ("http://tp/AttachmentDownload/5/q?x=1#z%.txt", "q?x=1#z%.txt", "AttachmentDownload/5/q%3Fx%3D1%23z%25.txt"),
        ("http://tp/AttachmentDownload/5/100%2541.txt", "100%41.txt", "AttachmentDownload/5/100%2541.txt"),
        ("http://tp/AttachmentDownload/5/100%41.txt", "100%41.txt", "AttachmentDownload/5/100%2541.txt"),
        ("http://tp/AttachmentDownload/5/100%25 größe.txt", "100% größe.txt", "AttachmentDownload/5/100%25%20gr"),
        ("http://[", "a", ""),
        ("", "a", ""),
    ],
)
def test_address_is_put_below_the_base_and_encoded_once(address, name, path):
    http = HttpClient("http://other.example/base", WrapAuth("ann", "x"))
    found = paths_in({"name": name, "url": address}, http)
    assert found[0].startswith(path) if path else found == []
    assert "".join(found).isascii()


async def test_file_is_taken_from_the_second_address_if_the_first_wants_a_login():
    async with serving(OneWaySandbox(SMALL)) as (sandbox, src, _):
        files = list((await crawl(src)).attachments.values())
        got = Counter([(file.name, (await fetch(src, file)).sha256) for file in files])
        assert got == Counter((file.name, file.sha256) for file in told(sandbox))


async def test_file_that_neither_address_gives_is_refused_as_the_first_said():
    async with serving(OneWaySandbox(SMALL, Faults(gone={1}))) as (_, src, _):
        first = (await src.read("attachments", None)).attachments[0]
        bucket = MemorySink()
        with pytest.raises(errors.LoginPageError):
            await src.download(first, bucket)
        assert not bucket.started


async def test_login_page_is_not_taken_for_a_web_page_of_unknown_size():
    class LoggedOut(FilePages):
        async def _file(self, request, how):
            return await show_login(request)

    page = next(file for file in WORLD.attachments if file.name.endswith(".html") and WORLD.owner_of(file))
    made = TeamPulseSandbox(WORLD, null_sizes={page.id})
    made.file_pages = LoggedOut(made, made.login)
    async with serving(made) as (_, src, _):
        bucket = MemorySink()
        with pytest.raises(errors.LoginPageError):
            await src.download((await crawl(src)).attachments[str(page.id)], bucket)
        assert not bucket.started


async def test_file_of_which_no_address_is_told_is_out_of_reach():
    class Tacit(Records):
        def address(self, file, page=""):
            return ""

    async with serving(composed(records=Tacit)) as (_, src, _):
        with pytest.raises(errors.NotExposedError):
            await fetch(src, (await src.read("attachments", None)).attachments[0])


async def test_file_without_a_known_address_is_asked_for_anew():
    async with serving(TeamPulseSandbox(SMALL)) as (_, src, dst):
        first = (await src.read("attachments", None)).attachments[0]
        assert (await fetch(src, replace(first, locator=""))).sha256 == (await fetch(src, first)).sha256
        bucket = MemorySink()
        await dst.read_back(Attachment("1", NOBODY, ""), bucket)
        assert bucket.sha256 == (await fetch(src, first)).sha256


async def test_tokens_that_die_in_the_middle_are_renewed():
    async with serving(TeamPulseSandbox(SMALL, token_lifetime_requests=2), page_size=5) as (sandbox, src, _):
        files = list((await crawl(src)).attachments.values())
        for file in files:
            await fetch(src, file)
            await src.read("workitems", None)
        assert Counter((file.owner, file.name) for file in files) == expected_names(sandbox)
        assert (sandbox.login.logins, sandbox.login.refreshes > 10) == (1, True)


async def test_dead_refresh_tokens_lead_to_a_new_login():
    made = TeamPulseSandbox(SMALL, token_lifetime_requests=2, refresh_dies=True)
    async with serving(made, page_size=5) as (sandbox, src, _):
        assert await names(src) == expected_names(sandbox)
        assert sandbox.login.logins > 5
        assert sandbox.login.refreshes == 0


async def test_everything_arrives_through_faults_of_all_kinds():
    rates = dict.fromkeys(
        ("error_500", "dropped", "truncated", "wrong_size", "login_page", "redirected", "gzipped"), 0.04
    )
    faults = Faults(seed=5, **rates)
    async with TeamPulseSandbox(WORLD, faults, token_lifetime_requests=30) as sandbox:
        src = RetryingSource(VerifiedSource(source(sandbox, page_size=20)), NO_PATIENCE)
        files = list((await crawl(src)).attachments.values())
        got = [(file.owner, file.name, (await fetch(src, file)).sha256) for file in files]
        await src.close()
        assert Counter(got) == Counter((file.owner, file.name, file.sha256) for file in told(sandbox))
        assert faults.injected.total() > 20


# Uploads


@pytest.mark.parametrize(
    ("answer", "understood"),
    [
        ("RECORD", True),
        ("[RECORD]", True),
        ('{"results": [RECORD]}', True),
        ("[RECORD, RECORD]", False),
        ("[]", False),
        ("", False),
        ("<html>", False),
        ("7", False),
        ('{"results": 7}', False),
        ('{"id": null}', False),
        ("[" * 100_000, False),
    ],
)
async def test_answer_to_an_upload_is_understood_in_all_its_forms(answer, understood):
    made = composed(SMALL.without_attachments(), writes=SilentWrites)
    made.writes.answer = answer
    async with serving(made) as (_, _, dst):
        owner = EntityRef("Story", "101")
        told_of = await dst.upload(owner, draft(description="told"), Bytes(b"x"))
        [there] = await dst.find_attachments(owner)
        assert there.name == "a.txt"
        assert told_of == (replace(there, raw=told_of.raw) if understood else None)


@pytest.mark.parametrize(
    ("name", "legal"),
    [
        ("a/b\\c:d.txt", "a_b_c_d.txt"),
        ('<"what|is*this?>', "__what_is_this__"),
        ("two\nlines\x7f.txt", "two_lines_.txt"),
        ("ends. ..", "ends____"),
        (" 100% & more; it's [fine] #1.txt", " 100% & more; it's [fine] #1.txt"),
        ("", "_"),
    ],
)
def test_name_keeps_all_but_what_a_windows_server_cannot_have(name, legal):
    assert TeamPulseTarget(HttpClient("http://tp.example", WrapAuth("ann", "x")), Options()).legal_name(name) == legal


@pytest.mark.parametrize("status", [404, 413])
async def test_upload_over_the_limit_is_told_as_too_large(status):
    async with serving(TeamPulseSandbox(SMALL, Faults(max_upload_bytes=1_000), too_large_status=status)) as (s, _, dst):
        with pytest.raises(errors.RejectedError, match=r"too large|404\.13") as caught:
            await dst.upload(EntityRef("Story", "101"), draft(size=1_001), Bytes(b"x" * 1_001))
        assert not isinstance(caught.value, errors.GoneError | errors.OutcomeUnknownError)
        assert not s.state.uploads
        assert not s.requests["GET /api/v1/workitems/{id}"], "what is said needs no second question"


@pytest.mark.parametrize(
    "refusal",
    [
        (404, "<title>404 - File or directory not found.</title>"),
        (500, "<html><head><title>Maximum request length exceeded.</title></head></html>"),
    ],
)
async def test_other_ways_to_say_too_large_are_understood(refusal):
    made = composed(writes=StubbornWrites)
    made.writes.refusal = refusal
    async with serving(made) as (_, _, dst):
        with pytest.raises(errors.RejectedError, match="too large") as caught:
            await dst.upload(EntityRef("Story", "101"), draft(size=2_000), Bytes(b"x" * 2_000))
        assert not isinstance(caught.value, errors.GoneError | errors.OutcomeUnknownError)


async def test_missing_work_item_is_not_mistaken_for_too_large_a_file():
    async with serving(composed(writes=StubbornWrites)) as (_, _, dst):
        with pytest.raises(errors.GoneError):
            await dst.upload(EntityRef("Story", "4711"), draft(size=2_000), Bytes(b"x" * 2_000))


async def test_description_that_is_not_taken_does_not_have_the_file_sent_again():
    async with serving(composed(SMALL.without_attachments(), writes=StubbornWrites)) as (sandbox, _, dst):
        retrying = RetryingTarget(dst, NO_PATIENCE)
        made = await retrying.upload(EntityRef("Story", "101"), draft(description="told"), Bytes(b"x"))
        assert (made.name, made.description) == ("a.txt", "")
        assert len(sandbox.state.uploads) == 1


async def test_upload_whose_answer_is_lost_is_sent_once_and_found():
    async with serving(TeamPulseSandbox(SMALL.without_attachments(), Faults(lose_upload_answers=1))) as (sb, _, dst):
        owner = EntityRef("Story", "101")
        with pytest.raises(errors.OutcomeUnknownError):
            await RetryingTarget(dst, NO_PATIENCE).upload(owner, draft(), Bytes(b"x"))
        assert [file.name for file in await dst.find_attachments(owner)] == ["a.txt"]
        assert len(sb.state.uploads) == 1


async def test_upload_with_a_dead_token_logs_in_and_sends_it_again_whole():
    async with serving(TeamPulseSandbox(SMALL.without_attachments(), token_lifetime_requests=1)) as (sb, _, dst):
        content = bytes(range(256)) * 200
        for _ in range(3):
            await dst.upload(EntityRef("Story", "101"), draft("b.bin", len(content)), Bytes(content))
        assert [(file.size, file.sha256) for file in sb.state.files_of(101)] == [(len(content), sha256(content))] * 3
        assert sb.login.refreshes == 3


async def test_upload_is_marked_as_the_option_says():
    async with TeamPulseSandbox(SMALL) as sandbox:
        for option, expected in ((Options(), "TeamPulse"), (Options(upload_type="Feedback"), "Feedback")):
            dst = TeamPulseTarget(client(sandbox), option)
            made = await dst.upload(EntityRef("Story", "101"), draft(), Bytes(b"x"))
            await dst.close()
            assert json.loads(made.raw)["type"] == expected


async def test_more_files_than_a_page_holds_are_found_on_one_work_item():
    world = World.generate(entities=1, attachments=130, median_bytes=10, large_bytes=0)
    async with serving(TeamPulseSandbox(world, comment_files_in_workitem=True)) as (sandbox, src, dst):
        owner = EntityRef(sandbox.kind_of(101), "101")
        found = await dst.find_attachments(owner)
        assert Counter(file.name for file in found) == Counter(file.name for file in sandbox.state.files_of(101))
        assert len(found) > 100
        assert await src.attachments_of(Entity(owner)) == found


@pytest.mark.parametrize("number", ["", "x", "1/../../users/me", "٣", "-1", "1?x"])
async def test_owner_that_is_no_number_is_gone_and_nothing_is_sent(number):
    async with serving(TeamPulseSandbox(SMALL)) as (sandbox, src, dst):
        owner = EntityRef("Story", number)
        for call in (
            src.attachments_of(Entity(owner)),
            dst.find_attachments(owner),
            dst.upload(owner, draft(), Bytes(b"x")),
            dst.describe(Attachment(number, owner, "x"), "told"),
            dst.read_back(Attachment(number, owner, "x"), MemorySink()),
        ):
            with pytest.raises(errors.GoneError):
                await call
        assert not sandbox.requests


# Answers that make no sense

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
KEYS = ("id", "name", "size", "url", "downloadUrl", "createdAt", "commentId", "workItemId", "type", "fields", "results")
ITEMS = JSON | st.dictionaries(st.sampled_from(KEYS), JSON | st.from_regex(r"https?://.{0,20}"))


@given(ITEMS)
def test_malformed_answers_end_in_our_errors(answer):
    http = HttpClient("http://tp.example/base", WrapAuth("ann", "x"))
    item = answer if isinstance(answer, dict) else {}
    for parse in (
        lambda: entity_in(item, ""),
        lambda: attachment_in(item, NOBODY, http).raw.encode(),
        lambda: paths_in(answer, http),
        lambda: created_in(json.dumps(answer).encode()),
    ):
        with contextlib.suppress(errors.MigratorError):
            parse()


def test_fields_of_the_wrong_kind_count_as_missing():
    told_of = {"id": 1, "name": "a\ud800b", "size": -1, "createdAt": "yesterday", "commentId": "x", "createdBy": 7}
    found = attachment_in(told_of, NOBODY, HttpClient("http://tp.example", WrapAuth("ann", "x")))
    assert (found.name, found.size, found.created_at, found.comment_id, found.created_by) == ("a?b", None, "", None, "")
    assert found.raw.encode()


@given(st.binary())
def test_answer_to_an_upload_may_be_anything(body):
    assert created_in(body) is None or isinstance(created_in(body), dict)


class BabblingLists(Lists):
    """Answers every list with the same words."""

    answer = ""

    def page(self, *_):
        return web.Response(text=self.answer, content_type="application/json")


@pytest.mark.parametrize(
    ("answer", "what"),
    [('{"results": [7]}', "it is not a JSON object"), ('{"results": [{}], "totalResults": 1}', "has no id")],
)
async def test_item_that_cannot_be_read_is_one_failure_with_its_place(answer, what):
    made = composed(lists=BabblingLists)
    made.lists.answer = answer
    async with serving(made) as (_, src, dst):
        for stream in src.capabilities.streams:
            page = await src.read(stream, None)
            (unread,) = page.unread
            assert (unread.ref.kind, page.entities, page.attachments, page.next) == (stream, (), (), None)
            assert unread.reason.startswith(f"GET api/v1/{stream}, after id 0: item 1 of 1 ")
            assert what in unread.reason
        with pytest.raises(errors.UnexpectedBodyError):
            await dst.find_attachments(EntityRef("Story", "101"))


@pytest.mark.parametrize("answer", ["[]", "7", "null", '{"results": 7}', "<html>"])
async def test_list_that_is_none_is_an_error_and_not_an_empty_tracker(answer):
    made = composed(lists=BabblingLists)
    made.lists.answer = answer
    async with serving(made) as (_, src, _):
        for stream in src.capabilities.streams:
            with pytest.raises(errors.UnexpectedBodyError):
                await src.read(stream, None)
