"""Redmine keeps the port: against a strict stand-in always, against the real one where there is one.

The real one: MIGRATOR_REDMINE_URL and MIGRATOR_REDMINE_API_KEY, then `pytest -m redmine`.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import secrets
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from migrator import errors
from migrator.model import Attachment, Draft, Entity, EntityRef
from migrator.testing import (
    SAMPLES,
    BoundSource,
    BoundTarget,
    Bytes,
    Expected,
    MemorySink,
    SourceContract,
    TargetContract,
    Truth,
    crawl,
    nowhere,
    read_to_the_end,
)
from migrator.trackers import adapter
from migrator.trackers.redmine import ADAPTER, Options, RedmineSource, RedmineTarget
from migrator.wire.client import HttpClient
from tests.support.opened import closed_later
from tests.support.real_redmine import KEY as REAL_KEY
from tests.support.real_redmine import URL as REAL_URL
from tests.trackers.fake_redmine import KEY, LOGIN, PASSWORD, FakeRedmine, page
from tests.trackers.fake_redmine_beside import Space

real = [
    pytest.mark.redmine,
    pytest.mark.skipif(
        not (REAL_URL and REAL_KEY), reason="MIGRATOR_REDMINE_URL and MIGRATOR_REDMINE_API_KEY are not set"
    ),
]


def client(url: str, key: str) -> HttpClient:
    return closed_later(HttpClient(url, ADAPTER.signer({"api_key": key}), timeout=20))


def source(url: str, key: str = KEY, options: Options | None = None) -> RedmineSource:
    return closed_later(RedmineSource(client(url, key), options or Options()))


def target(url: str, key: str = KEY, project: str = "secret", kind: str = "Task") -> RedmineTarget:
    return RedmineTarget(client(url, key), Options(create_project=project, create_kind=kind))


def issue(number: int) -> EntityRef:
    return EntityRef("Issue", str(number))


# --- the contracts against the stand-in


@pytest.fixture
async def fake():
    async with FakeRedmine().running() as running:
        yield running


@pytest.fixture
def small_pages(monkeypatch):
    monkeypatch.setattr("migrator.trackers.redmine.client.PAGE_SIZE", 2)


def seeded(fake: FakeRedmine) -> tuple[list[int], list[Expected]]:
    numbers = [fake.issue(f"issue {n}") for n in range(5)]
    files = []
    for sample in SAMPLES:
        stored = fake.file(numbers[sample.entity], sample.name, sample.content, sample.description, sample.media_type)
        files.append(Expected.of(issue(numbers[sample.entity]), stored.filename, sample.content, sample.description))
    return numbers, files


@pytest.mark.usefixtures("small_pages")
class TestRedmineSource(SourceContract):
    @pytest.fixture(params=["attachments on the page", "attachments asked for"])
    async def bound(self, fake, request):
        numbers, files = seeded(fake)
        fake.tells_attachments = request.param == "attachments on the page"
        made = source(fake.url)
        return BoundSource(
            made,
            lambda: source(fake.url),
            {issue(n) for n in numbers},
            files,
            gone=Attachment("4040", issue(numbers[0]), "gone.txt"),
            missing=Entity(issue(4040)),
            refused=lambda: source(fake.url, "wrong"),
            unreachable=lambda: source(nowhere()),
        )


class TestRedmineTarget(TargetContract):
    @pytest.fixture
    async def bound(self, fake):
        numbers, _ = seeded(fake)

        async def files_of(ref: EntityRef) -> list[Truth]:
            return [
                (s.filename, len(s.content), hashlib.sha256(s.content).hexdigest(), s.description)
                for s in fake.of(int(ref.id))
            ]

        made = target(fake.url)
        return BoundTarget(
            made,
            lambda: target(fake.url),
            issue(numbers[0]),
            issue(4040),
            files_of,
            gone=Attachment("4040", issue(numbers[0]), "gone.txt"),
            refused=lambda: target(fake.url, "wrong"),
            unreachable=lambda: target(nowhere()),
        )


def seeded_beside(fake: FakeRedmine) -> tuple[set[EntityRef], list[Expected]]:
    """Three projects with all that carries files, and a fourth that is archived."""
    fake.fields = {
        1: ("issue", "Contract", "attachment"),
        2: ("issue", "Build", "int"),
        3: ("project", "Charter", "attachment"),
        4: ("version", "Notes", "attachment"),
        5: ("user", "Photo", "attachment"),
        6: ("time_entry", "Receipt", "attachment"),
        7: ("document", "Scan", "attachment"),
    }
    demo = Space(1, "demo", wiki=["Start", "Größe_(mehr)"], news=[fake.number(), fake.number()], versions=[71])
    demo.time_entries = [81]
    shut = Space(3, "shut", status=5, modules=("news", "boards"), news=[fake.number()])
    below = Space(2, "below", parent=1, modules=("files", "issue_tracking", "documents"), versions=[72])
    fake.spaces = [demo, below, shut, Space(4, "archived", status=9, news=[99])]
    number = fake.issue("with a contract")
    owners = {"issue": "Issue", "project": "Project", "version": "Version", "user": "User", "time_entry": "TimeEntry"}
    files, found = [fake.file(number, "on the issue.txt", b"i")], [Expected.of(issue(number), "on the issue.txt", b"i")]

    def put(kind: str, where: int | str, ref: EntityRef) -> None:
        name, content = f"{kind} {str(where).replace('/', ' ')}.bin", f"content of {kind} {where}".encode()
        files.append(fake.put(kind, where, name, content))
        found.append(Expected.of(ref, name, content))

    for title in demo.wiki:
        put("wiki", f"demo/{title}", EntityRef("WikiPage", f"demo/{title}"))
    for piece in (demo.news[0], *shut.news):
        put("news", piece, EntityRef("News", str(piece)))
    put("project", 2, EntityRef("Project", "2"))
    put("version", 71, EntityRef("Version", "71"))
    put("version", 72, EntityRef("Version", "72"))
    for field, (kind, where) in zip((1, 3, 4, 5, 6), zip(owners, (number, 1, 71, 1, 81), strict=True), strict=True):
        put("custom", f"{kind}-{where}", EntityRef(owners[kind], str(where)))
        fake.values[kind, where] = {field: str(files[-1].id)}
    fake.values["issue", number][2] = str(files[1].id)  # a whole number that is no file
    return {file.owner for file in found}, found


class TestRedmineBeside(SourceContract):
    """The same contract with all that is no issue."""

    @pytest.fixture
    async def bound(self, fake, monkeypatch):
        monkeypatch.setattr("migrator.trackers.redmine.containers.PROJECTS_PER_PAGE", 1)
        monkeypatch.setattr("migrator.trackers.redmine.api.PAGE_SIZE", 2)
        entities, files = seeded_beside(fake)
        return BoundSource(
            source(fake.url),
            lambda: source(fake.url),
            entities,
            files,
            gone=Attachment("4040", EntityRef("WikiPage", "demo/Start"), "gone.txt"),
            missing=Entity(EntityRef("WikiPage", "demo/No_such_page")),
            refused=lambda: source(fake.url, "wrong"),
            unreachable=lambda: source(nowhere()),
        )


# --- the contracts against the real one


class Admin:
    """Talks to the real Redmine without the adapter; each makes a private project of its own."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self.project = f"contract-{secrets.token_hex(6)}"

    async def call(self, method: str, path: str, **options: Any) -> Any:
        async with self.session.request(method, f"{REAL_URL}/{path}", **options) as answer:
            assert answer.status < 300, f"{method} {path}: {answer.status}"
            return await answer.json() if answer.status != 204 and answer.content_length else None

    async def start(self) -> None:
        trackers = (await self.call("GET", "trackers.json"))["trackers"]
        project = {"name": self.project, "identifier": self.project, "is_public": False}
        project |= {"tracker_ids": [t["id"] for t in trackers], "enabled_module_names": ["issue_tracking"]}
        await self.call("POST", "projects.json", json={"project": project})

    async def issue(self, subject: str) -> int:
        draft = {"project_id": self.project, "subject": subject}
        return (await self.call("POST", "issues.json", json={"issue": draft}))["issue"]["id"]

    async def file(self, number: int, name: str, content: bytes, description: str, media_type: str) -> int:
        headers = {"Content-Type": "application/octet-stream"}
        made = await self.call(
            "POST", "uploads.json", params={"filename": name}, data=io.BytesIO(content), headers=headers
        )
        upload = {"token": made["upload"]["token"], "filename": name, "content_type": media_type}
        upload["description"] = description
        await self.call("PUT", f"issues/{number}.json", json={"issue": {"uploads": [upload]}})
        return made["upload"]["id"]

    async def files_of(self, ref: EntityRef) -> list[Truth]:
        answer = await self.call("GET", f"issues/{ref.id}.json?include=attachments")
        found = []
        for file in answer["issue"]["attachments"]:
            async with self.session.get(f"{REAL_URL}/attachments/download/{file['id']}") as response:
                content = await response.read()
            found.append((file["filename"], len(content), hashlib.sha256(content).hexdigest(), file["description"]))
        return found


@pytest.fixture
async def admin():
    async with aiohttp.ClientSession(headers={"X-Redmine-API-Key": REAL_KEY}) as session:
        made = Admin(session)
        await made.start()
        yield made
        await made.call("DELETE", f"projects/{made.project}.json")


class TestRealRedmineSource(SourceContract):
    pytestmark = real

    @pytest.fixture
    async def bound(self, small_pages, admin):
        numbers = [await admin.issue(f"issue {n}") for n in range(5)]
        files = []
        for sample in SAMPLES:
            number = numbers[sample.entity]
            await admin.file(number, sample.name, sample.content, sample.description, sample.media_type)
            files.append(Expected.of(issue(number), sample.name, sample.content, sample.description))
        gone = await admin.file(numbers[0], "gone.txt", b"gone", "", "text/plain")
        await admin.call("DELETE", f"attachments/{gone}.json")
        options = Options(project=admin.project)
        made = source(REAL_URL, REAL_KEY, options)
        return BoundSource(
            made,
            lambda: source(REAL_URL, REAL_KEY, options),
            {issue(n) for n in numbers},
            files,
            gone=Attachment(str(gone), issue(numbers[0]), "gone.txt"),
            missing=Entity(issue(99_999_999)),
            refused=lambda: source(REAL_URL, "wrong", options),
            unreachable=lambda: source(nowhere(), REAL_KEY, options),
        )


class TestRealRedmineTarget(TargetContract):
    pytestmark = real

    @pytest.fixture
    async def bound(self, admin):
        number = await admin.issue("an issue")
        await admin.file(number, "there.txt", b"there", "already", "text/plain")
        return BoundTarget(
            target(REAL_URL, REAL_KEY, admin.project, "Bug"),
            lambda: target(REAL_URL, REAL_KEY, admin.project, "Bug"),
            issue(number),
            issue(99_999_999),
            admin.files_of,
            gone=Attachment("99999999", issue(number), "gone.txt"),
            refused=lambda: target(REAL_URL, "wrong"),
            unreachable=lambda: target(nowhere()),
        )


# --- oddities


def test_redmine_is_in_the_registry():
    assert adapter("redmine") is ADAPTER


async def test_name_and_password_work_as_well(fake):
    http = HttpClient(fake.url, ADAPTER.signer({"username": LOGIN, "password": PASSWORD}))
    assert LOGIN in await RedmineSource(http, Options()).check()
    await http.close()


async def test_wrong_key_is_noticed_before_anonymous_answers_are_believed(fake):
    with pytest.raises(errors.AuthError):
        await source(fake.url, "wrong").read("issues", None)
    assert [path for _, path, _ in fake.requests] == ["users/current.json"]


async def test_key_that_dies_in_the_middle_of_a_listing_is_not_taken_for_its_end(fake, small_pages, monkeypatch):
    seeded(fake)
    made = source(fake.url)
    page_one = await made.read("issues", None)
    monkeypatch.setattr("tests.trackers.fake_redmine.KEY", "another key")
    with pytest.raises(errors.AuthError):
        await crawl(made, ("issues", page_one.next))


async def test_all_issues_are_found_where_the_server_gives_fewer_than_asked_for(fake):
    numbers, _ = seeded(fake)
    fake.limit = 2
    made = source(fake.url)
    assert {ref for ref in (await crawl(made)).entities if ref.kind == "Issue"} == {issue(n) for n in numbers}


async def test_server_that_gives_the_same_page_again_and_again_is_not_believed(fake, small_pages):
    seeded(fake)
    fake.stuck = True
    with pytest.raises(errors.RejectedError, match="same page"):
        await read_to_the_end(source(fake.url), "issues")


async def test_issue_deleted_during_a_listing_hides_no_other(fake, small_pages):
    numbers, _ = seeded(fake)
    made = source(fake.url)
    first = await made.read("issues", None)
    del fake.issues[numbers[0]]
    del fake.issues[numbers[1]]
    rest = await crawl(made, ("issues", first.next))
    assert {issue(n) for n in numbers[2:]} <= rest.entities


async def test_pages_come_side_by_side(fake, small_pages):
    numbers = [fake.issue(f"issue {number}") for number in range(40)]
    found = await crawl(source(fake.url))
    assert found.entities >= {EntityRef("Issue", str(number)) for number in numbers}
    assert fake.most_at_once > 1


async def test_listing_is_limited_to_a_project_by_option(fake):
    seeded(fake)
    made = source(fake.url, options=Options(project="another"))
    with pytest.raises(errors.GoneError):
        await made.read("issues", None)
    assert fake.requests[-1][2]["project_id"] == "another"


async def test_site_that_is_no_redmine_is_unreachable(fake):
    made = source(fake.url + "/wrong")
    with pytest.raises(errors.TrackerUnreachableError):
        await made.check()
    fake.answers_with["users/current.json"] = web.json_response(["hello"])
    with pytest.raises(errors.TrackerUnreachableError):
        await source(fake.url).check()


@pytest.mark.parametrize("answer", [[], {}, {"issues": None}, {"issues": {}}, {"issues": [1, 2]}, {"issues": [{}, {}]}])
async def test_listing_that_makes_no_sense_is_a_wrong_body(fake, answer):
    fake.answers_with["issues.json"] = web.json_response(answer)
    made = source(fake.url)
    with pytest.raises(errors.UnexpectedBodyError):
        await made.read("issues", None)


async def test_redmine_that_lists_the_newest_first_is_read_whole_and_told_of(fake, monkeypatch):
    numbers = [fake.issue(f"issue {n}") for n in range(250)]
    fake.newest_first = True
    made = source(fake.url)
    assert {ref for ref in (await crawl(made)).entities if ref.kind == "Issue"} == {issue(n) for n in numbers}
    assert any("order of their numbers" in sentence for sentence in await made.oddities())


async def test_record_of_another_issue_says_nothing_of_a_file(fake):
    """As from a cache before a tracker that mixes addresses up."""
    one, other = fake.issue("one"), fake.issue("other")
    fake.file(one, "a.txt", b"a")
    [file] = (await crawl(source(fake.url))).attachments.values()
    fake.answers_with[f"issues/{one}.json"] = web.json_response({"issue": {"id": other, "attachments": []}})
    with pytest.raises(errors.UnexpectedBodyError, match=f"the record of {other} came"):
        await source(fake.url).still_lists(file)


@pytest.mark.parametrize("bad", [1, {}, {"id": None}, {"id": "../../users"}, {"id": 1.5}, {"id": -1}])
async def test_issue_that_makes_no_sense_is_one_failure_beside_the_others(fake, bad):
    good = [{"id": number, "attachments": [{"id": 10 + number}]} for number in (1, 2)]
    fake.answers_with["issues.json"] = web.json_response({"issues": [good[0], bad, good[1]], "total_count": 3})
    page = await source(fake.url).read("issues", None)
    assert [file.id for file in page.attachments] == ["11", "12"]
    [unread] = page.unread
    assert unread.ref.kind == "Issue"
    assert "item 2 of 3" in unread.reason


async def test_file_that_makes_no_sense_is_one_failure_of_its_issue(fake):
    files = [{"id": 5, "filename": "good"}, {"filename": "bad"}]
    fake.answers_with["issues.json"] = web.json_response({"issues": [{"id": 1, "attachments": files}]})
    page = await source(fake.url).read("issues", None)
    assert [file.id for file in page.attachments] == ["5"]
    assert [one.ref for one in page.unread] == [issue(1)]
    assert page.ask == ()


@pytest.mark.parametrize("files", [None, {}, [None, None], [{"filename": "x"}, {}]])
async def test_issue_whose_files_make_no_sense_is_asked_for(fake, files):
    fake.answers_with["issues.json"] = web.json_response({"issues": [{"id": 1, "attachments": files}]})
    page = await source(fake.url).read("issues", None)
    assert [entity.ref for entity in page.ask] == [issue(1)]


async def test_odd_values_in_a_listing_do_no_harm(fake):
    odd = {"id": 7, "filename": None, "filesize": [12], "author": "Ada", "created_on": 5, "description": None}
    fake.answers_with["issues.json"] = web.json_response({"issues": [{"id": 1, "subject": 5, "attachments": [odd]}]})
    made = source(fake.url)
    [file] = (await made.read("issues", None)).attachments
    assert (file.id, file.name, file.size, file.created_by, file.created_at) == ("7", "", None, "", "")


async def test_page_in_place_of_json_is_a_wrong_body(fake):
    fake.answers_with["issues.json"] = page("Overview", 200)
    made = source(fake.url)
    with pytest.raises(errors.UnexpectedBodyError):
        await made.read("issues", None)


@pytest.mark.parametrize("path", ["issues.json", "users/current.json"])
async def test_page_of_maintenance_is_told_so_and_repeated(fake, path):
    fake.answers_with[path] = page("Maintenance", 200)
    made = source(fake.url)
    with pytest.raises(errors.RetriableError, match="down for maintenance"):
        await (made.check() if path.startswith("users") else made.read("issues", None))


async def test_download_that_leads_to_the_login_page_is_no_file(fake):
    numbers, _ = seeded(fake)
    bucket, made = MemorySink(), source(fake.url, "wrong")
    file = fake.of(numbers[0])[0]
    with pytest.raises(errors.LoginPageError):
        await made.download(Attachment(str(file.id), issue(numbers[0]), file.filename), bucket)
    assert not bucket.started


@pytest.mark.parametrize("number", ["", "1/../2", "x", "1?key=2"])
async def test_id_that_is_no_number_leads_nowhere(fake, number):
    made, goal = source(fake.url), target(fake.url)
    with pytest.raises(errors.GoneError):
        await made.download(Attachment(number, issue(1), "x"), MemorySink())
    with pytest.raises(errors.GoneError):
        await goal.find_attachments(EntityRef("Issue", number))
    assert fake.requests == []


async def upload(fake: FakeRedmine, draft: Draft, content: bytes) -> Attachment | None:
    number = fake.issue("an issue")
    goal = target(fake.url)
    return await goal.upload(issue(number), draft, Bytes(content))


async def test_upload_too_large_is_refused_in_redmines_words(fake):
    content = bytes(5 * 1024 * 1024 + 1)
    with pytest.raises(errors.RejectedError, match="exceeds the maximum allowed file size"):
        await upload(fake, Draft("large.bin", "", "", len(content)), content)


async def test_file_accepted_by_redmine_but_not_listed_was_dropped_or_is_late(fake):
    fake.attaches = False
    with pytest.raises(errors.OutcomeUnknownError, match="may this account edit the issue") as told:
        await upload(fake, Draft("a.txt", "text/plain", "", 1), b"a")
    assert told.value.accepted


async def test_refusal_of_the_token_is_a_definite_no(fake):
    fake.answers_with["uploads.json"] = web.json_response({"upload": {"id": 5, "token": "5.abc"}}, status=201)
    with pytest.raises(errors.RejectedError, match="could not be saved"):
        await upload(fake, Draft("a.txt", "text/plain", "", 1), b"a")


async def test_failure_before_anything_was_attached_may_be_repeated(fake):
    fake.answers_with["uploads.json"] = web.Response(status=500)
    with pytest.raises(errors.RetriableError):
        await upload(fake, Draft("a.txt", "text/plain", "", 1), b"a")


@pytest.mark.parametrize("status", [500, 502, 504])
async def test_failure_while_attaching_leaves_its_fate_open(fake, status):
    fake.answers_with["issues/1.json"] = web.Response(status=status)
    with pytest.raises(errors.OutcomeUnknownError):
        await upload(fake, Draft("a.txt", "text/plain", "", 1), b"a")


@pytest.mark.parametrize("status", [403, 429, 500])
async def test_upload_that_cannot_be_looked_up_is_not_repeated(fake, monkeypatch, status):
    async def broken(self, request, number):
        return web.Response(status=status)

    routes = tuple(
        ("GET", p, broken) if (m, p) == ("GET", r"issues/(\d+)\.json") else (m, p, a) for m, p, a in fake.ROUTES
    )
    monkeypatch.setattr(FakeRedmine, "ROUTES", routes)
    with pytest.raises(errors.OutcomeUnknownError):
        await upload(fake, Draft("a.txt", "text/plain", "", 1), b"a")
    assert [s.issue for s in fake.files.values()] == [1]


async def test_old_redmine_tells_the_number_in_the_token_only(fake):
    fake.old_upload_answer = True
    made = await upload(fake, Draft("a.txt", "text/plain", "", 1), b"a")
    assert made.id == str(next(iter(fake.files)))


async def test_owner_is_told_as_it_was_asked_for(fake):
    number = fake.issue("an issue")
    goal = target(fake.url)
    made = await goal.upload(EntityRef("", str(number)), Draft("a.txt", "", "", 1), Bytes(b"a"))
    assert made.owner == EntityRef("", str(number))


async def test_changes_of_one_issue_take_turns(fake, monkeypatch):
    running, most = 0, 0
    original = FakeRedmine.change

    async def change(self, request, number):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return await original(self, request, number)

    routes = tuple((m, p, change) if a is original else (m, p, a) for m, p, a in fake.ROUTES)
    monkeypatch.setattr(FakeRedmine, "ROUTES", routes)
    number = fake.issue("an issue")
    goal = target(fake.url)
    await asyncio.gather(*(goal.upload(issue(number), Draft(f"{n}", "", "", 1), Bytes(b"a")) for n in range(4)))
    assert len(fake.of(number)) == 4
    assert most == 1
