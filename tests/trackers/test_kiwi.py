"""Kiwi TCMS keeps the port: against the sandbox always, against the real one where there is one.

The real one: `.ci/with-tracker kiwi`. What both answer is looked at by calls of its own (`tests/support/real_kiwi.py`).
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from migrator import errors
from migrator.layers.retry import RetryingTarget
from migrator.model import Attachment, Draft, Entity, EntityDraft, EntityRef
from migrator.sandbox.kiwi import KiwiSandbox
from migrator.sandbox.world import World, WorldEntity
from migrator.testing import (
    NASTY,
    SAMPLES,
    BoundSource,
    BoundTarget,
    Bytes,
    Expected,
    MemorySink,
    SourceContract,
    TargetContract,
    arrivals,
    crawl,
    nowhere,
    send,
    sha256,
)
from migrator.trackers import adapter
from migrator.trackers.kiwi import ADAPTER, KiwiSource, KiwiTarget, Options
from migrator.trackers.kiwi.api import result_in
from migrator.trackers.kiwi.client import MAX_NAME_CHARACTERS, MAX_REQUEST_FILE_BYTES, attachment_in
from migrator.wire.client import HttpClient
from tests.support import real_kiwi
from tests.support.opened import closed_later
from tests.support.parts import PATIENCE
from tests.support.real_kiwi import Kiwi

FIXTURES = Path(__file__).parents[1] / "fixtures" / "kiwi"
REAL = pytest.param(
    "real", marks=[pytest.mark.kiwi, pytest.mark.skipif(not real_kiwi.URL, reason="MIGRATOR_KIWI_URL is not set")]
)
CASE, PLAN = "TestCase", "TestPlan"


def client(kiwi: Kiwi, password: str = "", url: str = "") -> HttpClient:
    auth = {"username": kiwi.user, "password": password or kiwi.password}
    return closed_later(HttpClient(url or kiwi.url, ADAPTER.signer(auth), timeout=20))


@pytest.fixture
async def sandbox():
    """It calls itself by another name than that by which it is reached."""
    async with KiwiSandbox(World(0, ()), address="http://elsewhere.invalid") as running:
        yield running


@pytest.fixture
async def kiwi(sandbox):
    async with Kiwi(sandbox.url, sandbox.user, sandbox.password) as session:
        yield session


@pytest.fixture(params=["sandbox", REAL])
async def either(request, sandbox):
    """A session with the sandbox, or with the real server."""
    here = Kiwi(sandbox.url, sandbox.user, sandbox.password)
    async with Kiwi() if request.param == "real" else here as session:
        yield session


async def filled(kiwi: Kiwi) -> tuple[list[EntityRef], list[Expected]]:
    """Test cases and plans with the samples that Kiwi takes, under the names that it gives them."""
    owners = [EntityRef(CASE, await kiwi.case(f'case {n} <b> & "q"')) for n in range(4)]
    owners += [EntityRef(PLAN, await kiwi.plan("plan ä")), EntityRef(CASE, await kiwi.case("without files"))]
    files = []
    for sample in SAMPLES:
        owner = owners[sample.entity + (sample.entity == 1) * 3]
        known = {pk for pk, _, _ in await kiwi.listed(*owner)}
        await kiwi.attach(*owner, sample.name, sample.content[: 7000 * 256])
        new = [(name, content) for pk, name, content in await kiwi.listed(*owner) if pk not in known]
        files += [Expected.of(owner, name, content) for name, content in new]
    return owners, files


class TestKiwiSource(SourceContract):
    @pytest.fixture
    async def bound(self, either):
        owners, files = await filled(either)
        assert len(files) == len(SAMPLES) - 2, "all but the empty one and the page"
        await either.attach(*owners[0], "gone.txt", b"gone")
        options = Options(product=(await either.product())["name"], page_size=2)
        made = closed_later(KiwiSource(client(either), options))
        gone = next(file for file in await made.find_attachments(owners[0]) if file.name == "gone.txt")
        await either.delete(gone.id)
        return BoundSource(
            made,
            lambda: KiwiSource(client(either), options),
            set(owners),
            files,
            gone=gone,
            missing=Entity(EntityRef(CASE, "99999999")),
            refused=lambda: KiwiSource(client(either, "wrong"), options),
            unreachable=lambda: KiwiSource(client(either, url=nowhere()), options),
        )


class TestKiwiWithAWorld(SourceContract):
    """The world that `migrator sandbox` serves."""

    @pytest.fixture
    async def bound(self):
        world = World.generate(entities=12, seed=3, median_bytes=500, large_bytes=0)
        async with KiwiSandbox(world) as made, Kiwi(made.url, made.user, made.password) as kiwi:
            refs = {entity.id: EntityRef(made.kind_of(entity.id), str(entity.id)) for entity in world.entities}
            files = [
                Expected(refs[file.entity_id], file.name, file.size, made.state.sha256_of(file), "")
                for file in made.world.attachments
            ]
            options = Options(product="Sandbox", page_size=7)
            first = refs[world.entities[0].id]
            yield BoundSource(
                closed_later(KiwiSource(client(kiwi), options)),
                lambda: KiwiSource(client(kiwi), options),
                set(refs.values()),
                files,
                gone=Attachment("99999", first, "gone.txt"),
                missing=Entity(EntityRef(CASE, "99999999")),
                refused=lambda: KiwiSource(client(kiwi, "wrong"), options),
                unreachable=lambda: KiwiSource(client(kiwi, url=nowhere()), options),
            )


class TestKiwiTarget(TargetContract):
    @pytest.fixture
    async def bound(self, either):
        entity = EntityRef(CASE, await either.case("a case"))
        await either.attach(*entity, "there.txt", b"there")
        options = Options(create_product=(await either.product())["name"])
        return BoundTarget(
            closed_later(KiwiTarget(client(either), options)),
            lambda: KiwiTarget(client(either), options),
            entity,
            EntityRef(CASE, "99999999"),
            lambda ref: either.truths(*ref),
            gone=Attachment("99999999", entity, "gone.txt"),
            refused=lambda: KiwiTarget(client(either, "wrong"), options),
            unreachable=lambda: KiwiTarget(client(either, url=nowhere()), options),
            refused_drafts=(Draft("setup.exe", "", "", 1), Draft("a.exe.txt", "", "", 1)),
        )

    async def test_ordinary_names_are_legal_unchanged(self, bound):
        """A blank isn't ordinary here."""
        names = ["notes.txt", "Änderung_日本.txt", "two-words.1.tar.gz"]
        assert [bound.target.legal_name(name) for name in names] == names
        assert bound.target.legal_name("two words (1).tar.gz") == "two_words__1_.tar.gz"
        assert bound.target.legal_name("A\u0308 decomposed.txt") == "Ä_decomposed.txt"

    async def test_legal_names_arrive_exactly(self, bound):
        """Each once, and without the one that Kiwi refuses."""
        before = await bound.files_of(bound.entity)
        names = sorted({bound.target.legal_name(name) for name in NASTY if ".exe" not in name})
        for name in names:
            await send(bound, name, b"x")
        assert sorted(truth[0] for truth in await arrivals(bound, before)) == names

    @pytest.mark.parametrize("letter", ["n", "ä", "日"])
    async def test_name_of_the_greatest_length_arrives(self, bound, letter):
        """Each digit of the entity's number takes a character."""
        before = await bound.files_of(bound.entity)
        name = letter * (MAX_NAME_CHARACTERS + 1 - len(bound.entity.id) - 4) + ".txt"
        await send(bound, name, b"x")
        assert [truth[0] for truth in await arrivals(bound, before)] == [name]

    async def test_two_files_with_equal_names_are_both_kept(self, bound):
        """The second one under a name that Kiwi makes."""
        before = await bound.files_of(bound.entity)
        for content in (b"first", b"other"):
            await send(bound, "twin.txt", content)
        added = [truth for truth in await bound.files_of(bound.entity) if truth not in before]
        assert {truth[2] for truth in added} == {sha256(b"first"), sha256(b"other")}
        assert sorted(name == "twin.txt" for name, *_ in added) == [False, True]

    async def test_deleted_file_is_gone_and_its_twins_stay(self, bound):
        for _ in range(2):
            await send(bound, "twin.txt", b"twin")
        made = [file for file in await bound.target.find_attachments(bound.entity) if file.name.startswith("twin")]
        await bound.target.delete(made[0])
        listed = await bound.target.find_attachments(bound.entity)
        assert [file.id for file in listed if file.name.startswith("twin")] == [made[1].id]


# --- oddities, on both


async def target_on(kiwi: Kiwi) -> tuple[KiwiTarget, EntityRef]:
    return closed_later(KiwiTarget(client(kiwi), Options())), EntityRef(PLAN, await kiwi.plan("a plan"))


@pytest.mark.parametrize("content", [b"a<SCRIPT>", b"\0\xff<rT\0", b"x onLoad= y", b"<?xml version='1.0'?><link/>"])
async def test_a_refusal_for_the_content_is_final_and_says_why(either, content):
    target, plan = await target_on(either)
    with pytest.raises(errors.RejectedError, match="forbidden") as caught:
        await target.upload(plan, Draft("x.bin", "", "", len(content)), Bytes(content, 3))
    assert not isinstance(caught.value, errors.OutcomeUnknownError)
    assert await either.listed(*plan) == []


async def test_more_than_a_request_may_hold_is_refused_as_too_large(either):
    _, plan = await target_on(either)
    target = closed_later(KiwiTarget(client(either), Options(max_bytes=0)))
    size = MAX_REQUEST_FILE_BYTES + 1024
    with pytest.raises(errors.RejectedError, match="too large") as caught:
        await target.upload(plan, Draft("x.bin", "", "", size), Bytes(bytes(size)))
    assert not isinstance(caught.value, errors.OutcomeUnknownError)


async def test_a_file_called_a_text_may_be_anything(either):
    """Kiwi calls every file a text: a picture that is one is a file all the same."""
    target, plan = await target_on(either)
    await either.attach(*plan, "picture.png", b"no picture")
    [file] = await target.find_attachments(plan)
    sink = MemorySink()
    await target.read_back(file, sink)
    assert (file.size, sink.facts.length, sink.facts.media_type) == (None, 10, "application/octet-stream")


async def test_a_title_is_read_without_the_escapes_of_html(either):
    await filled(either)
    source = closed_later(KiwiSource(client(either), Options(product=(await either.product())["name"])))
    titles = {entity.title for _, _, page in (await crawl(source)).steps for entity in page.entities}
    assert {'case 0 <b> & "q"', "plan ä"} <= titles


async def test_a_session_that_ended_is_renewed_once(either):
    """For reads, and for an upload, which arrives once."""
    target, plan = await target_on(either)
    await target.find_attachments(plan)
    target._http._session.signer._session = "0" * 32
    assert await target.find_attachments(plan) == ()
    target._http._session.signer._session = "0" * 32
    await target.upload(plan, Draft("x.txt", "", "", 1), Bytes(b"x"))
    assert [name for _, name, _ in await either.listed(*plan)] == ["x.txt"]
    assert target._http._session.logins == 3


# --- oddities of answers


async def test_a_missing_permission_logs_in_no_further_time(sandbox, kiwi):
    source = closed_later(KiwiSource(client(kiwi), Options()))
    sandbox.quirks.forbidden = {"TestCase.filter"}
    for _ in range(3):
        with pytest.raises(errors.ForbiddenError, match="no permission"):
            await source.read(CASE, None)
    assert source._http._session.logins == 1


async def test_a_login_that_fails_otherwise_is_no_wrong_password(sandbox, kiwi):
    sandbox.quirks.broken["Auth.login"] = ["database is locked"]
    with pytest.raises(errors.RetriableError, match="database is locked"):
        await closed_later(KiwiSource(client(kiwi), Options())).check()


async def test_calls_whose_session_ended_together_log_in_once(sandbox, kiwi):
    """One that is refused late finds that another has logged in, and doesn't take that for a missing permission."""
    target, plan = await target_on(kiwi)
    await target.find_attachments(plan)
    sandbox.rpc.sessions.clear()
    sandbox.quirks.delays = [0.0, 0.3, 0.6]
    assert await asyncio.gather(*(target.find_attachments(plan) for _ in range(3))) == [()] * 3
    assert target._http._session.logins == 2


async def test_sessions_that_end_at_once_are_a_passing_fault(sandbox, kiwi):
    """As they do while Kiwi can't write to its database."""
    target, plan = await target_on(kiwi)
    sandbox.quirks.session_seconds = 0
    with pytest.raises(errors.RetriableError, match="ended at once"):
        await target.find_attachments(plan)


async def test_a_deletion_that_did_nothing_is_not_believed(sandbox, kiwi):
    target, plan = await target_on(kiwi)
    await kiwi.attach(*plan, "kept.txt", b"x")
    sandbox.quirks.keeps_deleted = True
    with pytest.raises(errors.RejectedError, match="still lists") as caught:
        await target.delete((await target.find_attachments(plan))[0])
    assert not isinstance(caught.value, errors.GoneError)


async def test_a_locked_database_is_a_passing_fault(sandbox, kiwi):
    """Kiwi redirects to the page that makes a database; nothing was done, so the request is simply repeated."""
    target, plan = await target_on(kiwi)
    patient = RetryingTarget(target, PATIENCE)
    assert await patient.find_attachments(plan) == ()
    sandbox.quirks.locked = 2
    assert await patient.find_attachments(plan) == ()
    sandbox.quirks.locked = 2
    await patient.upload(plan, Draft("x.txt", "", "", 1), Bytes(b"x"))
    assert len(await kiwi.listed(*plan)) == 1


async def test_an_error_behind_an_upload_leaves_its_fate_unknown(sandbox, kiwi):
    """Kiwi may have kept the file, so it is looked for before it is sent again."""
    target, plan = await target_on(kiwi)
    sandbox.quirks.broken["TestPlan.add_attachment"] = ["database is locked"]
    with pytest.raises(errors.OutcomeUnknownError) as caught:
        await target.upload(plan, Draft("x.txt", "", "", 1), Bytes(b"x"))
    assert caught.value.finished
    assert len(await target.find_attachments(plan)) == 1


async def test_a_list_that_fails_on_a_page_is_asked_for_by_itself(sandbox, kiwi):
    case = await kiwi.case("a case")
    await kiwi.attach(CASE, case, "x.txt", b"x")
    sandbox.quirks.broken["TestCase.list_attachments"] = ["database is locked"]
    source = closed_later(KiwiSource(client(kiwi), Options()))
    page = await source.read(CASE, None)
    assert ([entity.ref.id for entity in page.ask], page.attachments) == ([case], ())
    sandbox.quirks.broken["TestCase.list_attachments"] = ["database is locked"]
    with pytest.raises(errors.RetriableError):
        await source.attachments_of(page.ask[0])
    assert [file.name for file in await source.attachments_of(page.ask[0])] == ["x.txt"]


@pytest.mark.parametrize("counts", [True, False])
async def test_a_gap_in_the_numbers_ends_nothing_and_no_page_is_large(sandbox, kiwi, monkeypatch, counts):
    lists = []
    monkeypatch.setattr("migrator.sandbox.kiwi.rpc.escaped", lambda result: (lists.append(result), result)[1])
    sandbox.quirks.forbidden = set() if counts else {"Testing.breakdown"}
    numbers = [1, 2, *range(3_000_003, 3_000_024)]
    for number in numbers:
        sandbox.state.created[number] = WorldEntity(number, PLAN if number in {2, 3_000_023} else CASE, "at a gap")
    done = await crawl(closed_later(KiwiSource(client(kiwi), Options(page_size=4))))
    assert {ref.id for ref in done.entities} == {*map(str, numbers)}
    assert max(len(page.entities) for _, _, page in done.steps) <= 4
    assert sandbox.rpc.calls.total() < 350
    longest = max(len(result) for result in lists if isinstance(result, list))
    assert longest <= (4 if counts else 20), "nothing is listed only to see whether something is there"


async def test_only_the_product_of_the_options_is_read(sandbox, kiwi):
    wanted = [EntityRef(CASE, await kiwi.case("mine")), EntityRef(PLAN, await kiwi.plan("mine"))]
    async with Kiwi(sandbox.url, sandbox.user, sandbox.password) as other:
        await other.case("of another product")
        await other.plan("of another product")
    name = (await kiwi.product())["name"]
    done = await crawl(closed_later(KiwiSource(client(kiwi), Options(product=name))))
    assert done.entities == set(wanted)


async def test_a_product_is_found_by_its_name_without_the_escapes(sandbox, kiwi):
    sandbox.records.products.append("R & D <new>")
    target = closed_later(KiwiTarget(client(kiwi), Options(create_product="R & D <new>")))
    made = await target.create_entity(EntityDraft("Bug", "a stub", "text", "migrator-" + "0" * 24))
    assert sandbox.records.shown(sandbox.state.existing_entity(int(made.id)))["category"] == 2


async def test_fewer_test_cases_than_kiwi_counts_are_no_listing(sandbox, kiwi):
    await kiwi.case("the only one")
    sandbox.quirks.miscounted = 1
    with pytest.raises(errors.ShortListingError):
        await crawl(closed_later(KiwiSource(client(kiwi), Options())))


async def test_numbers_that_were_not_requested_are_no_answer(sandbox, kiwi, monkeypatch):
    await kiwi.case("the only one")
    monkeypatch.setattr(sandbox.records, "found", lambda *_: sandbox.state.entities())
    source = closed_later(KiwiSource(client(kiwi), Options()))
    with pytest.raises(errors.UnexpectedBodyError):
        await source.read(CASE, '{"after": 500}')


# --- recordings


def recorded(name: str) -> object:
    return json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))


async def test_a_recorded_list_is_read(kiwi):
    records = result_in(recorded("26-attachments-list"), "TestCase.list_attachments")
    files = [attachment_in(record, EntityRef(CASE, "1"), client(kiwi)) for record in records]
    assert [(file.id, file.name) for file in files] == [
        ("3", "its_a__ü41_.txt"),
        ("2", "notes_iaG7QY0.txt"),
        ("1", "notes.txt"),
    ]
    assert files[0].locator == "uploads/attachments/testcases_testcase/1/its_a__%C3%BC41_.txt"
    assert (files[0].created_at, files[0].created_by) == ("2026-11-28T07:33:37.666009", "admin")


@pytest.mark.parametrize(
    ("name", "error", "reason"),
    [
        ("18-attach-empty", errors.RejectedError, "The submitted file is empty"),
        ("20-attach-xml-link", errors.RejectedError, "File contains forbidden tag: <link>"),
        ("21-attach-exe", errors.RejectedError, "Uploading executable files is forbidden"),
        ("24-attach-2000000-bytes", errors.RejectedError, "too large"),
        ("12-case-create-no-summary", errors.RejectedError, "This field is required"),
        ("37-unknown-method", errors.RejectedError, "Method not found"),
        ("38-wrong-parameters", errors.RejectedError, "missing 2 required"),
        ("27-attachments-list-unknown-case", errors.RetriableError, "does not exist"),
    ],
)
def test_a_recorded_error_is_what_it_means(name, error, reason):
    with pytest.raises(error, match=reason) as caught:
        result_in(recorded(name), "a.method")
    assert not isinstance(caught.value, errors.UnexpectedBodyError)


def test_kiwi_is_in_the_registry():
    assert adapter("kiwi") is ADAPTER
