"""Targetprocess keeps the contracts on servers of every age, and meets each oddity with its own answer."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from urllib.parse import parse_qs

import pytest
from aiohttp import web

from migrator import errors
from migrator.layers.retry import RetryingSource, RetryPolicy
from migrator.layers.verify import VerifiedSource
from migrator.model import NOBODY, Attachment, Draft, Entity, EntityRef, Link
from migrator.sandbox.faults import Faults
from migrator.sandbox.targetprocess.app import TargetprocessSandbox
from migrator.sandbox.targetprocess.files import error_page
from migrator.sandbox.world.model import World
from migrator.testing import (
    Bytes,
    Crawl,
    MemorySink,
    SourceContract,
    TargetContract,
    comparable,
    crawl,
    fetch,
    read_to_the_end,
)
from migrator.trackers.prefetch import MAX_PREFETCHED
from migrator.trackers.targetprocess import Options, TargetprocessSource, TargetprocessTarget
from tests.support.parts import run_backup
from tests.trackers.targetprocess_bound import (
    SKIP,
    WORLD,
    all_in,
    all_of,
    answering,
    bound_source,
    bound_target,
    client,
    owner_of,
    running,
    source_of,
    target_of,
)

SERVERS = {
    "new": {},
    "old": {"sortable": False, "counts": False},
    "xml": {"xml_only": True, "base_path": "/tp"},
    "oldest": {"xml_only": True, "sortable": False, "counts": False, "base_path": "/a/b"},
}
TOKEN = TargetprocessSandbox.access_token


class TestTargetprocessSource(SourceContract):
    @pytest.fixture(params=SERVERS)
    async def bound(self, request):
        async with running(**SERVERS[request.param]) as sandbox:
            bound = bound_source(sandbox, SKIP)
            yield bound
            await bound.source.close()


class TestTargetprocessSourceWithImagesOfTexts(SourceContract):
    @pytest.fixture
    async def bound(self):
        async with running(base_path="/tp") as sandbox:
            bound = bound_source(sandbox, Options(page_size=9, format="xml"), cookie=TargetprocessSandbox.cookie)
            yield bound
            await bound.source.close()


class TestTargetprocessTarget(TargetContract):
    @pytest.fixture(params=["new", "xml"])
    async def bound(self, request):
        async with running(**SERVERS[request.param]) as sandbox:
            bound = bound_target(sandbox)
            yield bound
            await bound.target.close()


class TestTargetprocessTargetOfOld(TargetContract):
    @pytest.fixture
    async def bound(self):
        async with running(old_upload_answer=True, html_upload_answer=True, sortable=False) as sandbox:
            bound = bound_target(sandbox)
            yield bound
            await bound.target.close()


def settled(done: Crawl) -> dict[str, Attachment]:
    """What a crawl brought, with its links applied as the catalog does: in their order, to what is unlinked still."""
    files = {file.id: file for _, _, page in done.steps for file in page.attachments}
    files |= {file.id: file for some in done.asked.values() for file in some}
    for link in (link for _, _, page in done.steps for link in page.links):
        if link.attachment_id in files and files[link.attachment_id].owner == NOBODY:
            found = files[link.attachment_id]
            files[found.id] = replace(found, owner=link.owner, comment_id=link.comment_id)
    return files


# What one list hides the other shows


async def test_file_hidden_in_the_collection_or_at_its_entity_is_found():
    first, other = [file.id for file in WORLD.attachments if file.entity_id is not None][:2]
    async with running(hidden_from_collection={first}, hidden_from_generals={other}) as sandbox:
        async with source_of(sandbox) as source:
            assert await all_of(source) == all_in(sandbox)
        async with source_of(sandbox, replace(SKIP, cross_check="off")) as source:
            assert await all_of(source) == all_in(sandbox), "its entity tells of one more than the list of all has"
        sandbox.quirks.counts = False
        async with source_of(sandbox, replace(SKIP, cross_check="off")) as source:
            assert str(first) not in (await crawl(source)).attachments


@pytest.mark.parametrize("check", ["counts", "all", "off"])
async def test_entities_are_asked_for_their_files_as_the_option_says(check):
    async with running() as sandbox, source_of(sandbox, replace(SKIP, cross_check=check)) as source:
        await crawl(source)
        with_files = sum(bool(sandbox.lists.attached(entity.id)) for entity in sandbox.state.entities())
        asked = sandbox.requests["GET /api/v1/Generals/{id}/Attachments"]
    assert 0 < with_files < len(WORLD.entities)
    assert asked == {"counts": with_files, "all": len(WORLD.entities), "off": 0}[check]


async def test_every_entity_is_asked_where_the_server_refuses_to_count():
    async with running(counts=False) as sandbox, source_of(sandbox) as source:
        await crawl(source)
        assert sandbox.requests["GET /api/v1/Generals/{id}/Attachments"] == len(WORLD.entities)


async def test_what_a_server_refused_once_is_not_asked_again():
    async with running(counts=False) as sandbox, source_of(sandbox, replace(SKIP, page_size=10)) as source:
        await crawl(source)
        asked = sandbox.requests["GET /api/v1/Generals"]
        assert 3 + 3 <= asked <= 3 + 3 + MAX_PREFETCHED  # refused in three ways, then three pages, and some asked ahead


# Files that name no owner


async def test_files_of_comments_and_messages_get_their_owner_from_the_texts():
    async with running() as sandbox, source_of(sandbox) as source:
        files = settled(await crawl(source))
        of_comments = [file for file in WORLD.attachments if file.comment_id is not None]
        of_messages = [file for file in WORLD.attachments if file.message_id is not None]
        assert of_comments
        assert of_messages
        for file in of_comments + of_messages:
            found = files[str(file.id)]
            assert found.owner == owner_of(sandbox, file) != NOBODY
            assert found.comment_id == (None if file.comment_id is None else str(file.comment_id))


async def test_file_of_nobody_is_kept():
    async with running() as sandbox, source_of(sandbox) as source:
        files = settled(await crawl(source))
        loose = {file.name for file in files.values() if file.owner == NOBODY}
    assert loose == {"nobody's.png", "left over.zip"}


async def test_description_in_markdown_or_html_tells_the_owner_of_a_file_too():
    async with running() as sandbox, source_of(sandbox) as source:
        for entity in sandbox.state.entities()[:2]:
            sandbox.state.created[entity.id + 1] = replace(
                entity, id=entity.id + 1, text="[a](Attachment.aspx?AttachmentID=7)"
            )
        links = {link for _, _, page in (await crawl(source)).steps for link in page.links}
        kinds = [sandbox.kind_of(entity.id) for entity in sandbox.state.entities()[:4:2]]
    assert {Link("7", EntityRef(kinds[0], "102")), Link("7", EntityRef(kinds[1], "105"))} <= links


@pytest.mark.parametrize("stream", ["Comments", "Messages"])
async def test_server_without_comments_or_messages_has_them_empty_and_says_so(stream):
    async def refuse(request):
        return web.json_response({"Message": "no"}, status=404)

    async with answering(refuse) as url:
        source = TargetprocessSource(client(url), SKIP)
        page = await source.read(stream, None)
        with pytest.raises(errors.GoneError):
            await source.read(stream, '{"after": 7}')
        with pytest.raises(errors.GoneError):
            await source.read("Attachments", None)
        await source.close()
    assert (page.links, page.attachments, page.next) == ((), (), None)
    assert f"this server has no {stream}" in page.warnings[0]


@pytest.mark.parametrize("asked", ["take=2", "/meta"])
@pytest.mark.parametrize("stream", ["Comments", "Messages"])
async def test_comments_or_messages_not_found_once_are_not_taken_for_none(stream, asked):
    async def once(request):
        there = "include" not in request.query and (asked in request.path_qs)
        return web.json_response({"Items": []} if there else {"Message": "no"}, status=200 if there else 404)

    async with answering(once) as url:
        source = TargetprocessSource(client(url), SKIP)
        with pytest.raises(errors.GoneError):
            await source.read(stream, None)
        await source.close()


@pytest.mark.parametrize("status", [400, 403, 500])
@pytest.mark.parametrize("stream", ["Attachments", "Generals", "Comments", "Messages"])
async def test_list_that_is_refused_is_a_failure_and_not_an_empty_one(stream, status):
    async def refuse(request):
        return web.json_response({"Message": "no"}, status=status)

    async with answering(refuse) as url:
        source = TargetprocessSource(client(url), SKIP)
        with pytest.raises(errors.ItemFailedError):
            await source.read(stream, None)
        await source.close()


# Images inside of texts


async def test_image_inside_a_text_is_listed_and_said_to_be_out_of_reach():
    async with running(base_path="/tp") as sandbox, source_of(sandbox, Options(page_size=40)) as source:
        comment = sandbox.state.add_comment(
            101, "<p><img src='~/uploads/my%20shot (1).png?x=1'> ![](~/images/a.gif)</p>"
        )
        found = [file for file in settled(await crawl(source)).values() if file.id.startswith("inline:")]
        texts = {entity.id for entity in sandbox.state.entities() if "~/images/" in entity.text}
        assert {file.owner.id for file in found if file.comment_id is None} == {str(number) for number in texts}
        assert {(file.name, file.comment_id, file.locator) for file in found if file.comment_id} == {
            ("my shot (1).png", str(comment.id), "uploads/my%20shot (1).png"),
            ("a.gif", str(comment.id), "images/a.gif"),
        }
        assert len({file.id for file in found}) == len(texts) + 2
        for file in found:
            with pytest.raises(errors.NotExposedError):
                await fetch(source, file)


async def test_images_inside_of_texts_are_left_out_where_the_option_says_so():
    async with running() as sandbox, source_of(sandbox) as source:
        assert not [key for key in (await crawl(source)).attachments if key.startswith("inline:")]
        assert source.capabilities.reports_size


async def test_images_that_are_skipped_later_are_not_gone(tmp_path):
    async with running(WORLD) as sandbox:
        async with source_of(sandbox, Options(page_size=40)) as source:
            first = await run_backup(None, tmp_path, source=source)
        async with source_of(sandbox) as source:
            second = await run_backup(None, tmp_path, source=source)
    inline = [file for file in first["failures"] if file["attachment"].startswith("inline:")]
    assert len(inline) == first["attachments"]["failed"] > 0
    assert (second["status"], second["attachments"]["gone"], second["failures"]) == ("complete", 0, [])


# Pages


async def test_pages_hold_a_thousand_items_at_most_and_all_of_them_are_read():
    world = World.generate(entities=5, attachments=2300, median_bytes=40, large_bytes=0)
    async with running(world) as sandbox, source_of(sandbox, replace(SKIP, page_size=9000)) as source:
        assert await all_of(source) == all_in(sandbox)
        assert 3 <= sandbox.requests["GET /api/v1/Attachments"] <= 3 + MAX_PREFETCHED


@pytest.mark.parametrize("sortable", [True, False])
async def test_all_files_of_a_crowded_entity_are_found(sortable):
    file = WORLD.attachments[0]
    crowd = tuple(replace(file, id=number, entity_id=101, comment_id=None) for number in range(1, 2106))
    async with running(replace(WORLD, attachments=crowd), sortable=sortable) as sandbox, target_of(sandbox) as target:
        found = await target.find_attachments(EntityRef("UserStory", "101"))
    assert sorted(int(remote.id) for remote in found) == list(range(1, 2106))


async def test_way_of_paging_stands_in_the_cursor_and_is_kept():
    async with running(sortable=False) as sandbox, source_of(sandbox) as source:
        old = (await source.read("Attachments", None)).next
        sandbox.requests.clear()
        await source.read("Attachments", old)
        assert sandbox.requests["GET /api/v1/Attachments"] == 1
    async with running() as sandbox, source_of(sandbox) as source:
        assert "after" in (await source.read("Attachments", None)).next
    assert "offset" in old


async def test_crawl_goes_on_when_a_server_that_sorted_no_longer_does():
    async with running() as sandbox, source_of(sandbox) as source:
        page = await source.read("Attachments", None)
        sandbox.quirks.sortable = False
        rest = await crawl(source, ("Attachments", page.next))
        found = {file.id for file in page.attachments} | rest.attachments.keys()
        assert found == {str(file.id) for file in WORLD.attachments}


@pytest.mark.parametrize(("pages", "deleted"), [(1, 3), (2, 15), (2, 60)])
async def test_deletion_during_the_crawl_of_an_old_server_hides_nothing(pages, deleted):
    async with running(sortable=False) as sandbox, source_of(sandbox, replace(SKIP, cross_check="off")) as source:
        cursor, seen = None, []
        for _ in range(pages):
            page = await source.read("Attachments", cursor)
            cursor, seen = page.next, seen + [file.id for file in page.attachments]
        for number in seen[:deleted]:
            sandbox.state.delete(int(number))
        rest = await crawl(source, ("Attachments", cursor))
        assert set(seen) | rest.attachments.keys() == {str(file.id) for file in WORLD.attachments}


def listing(obeys: set[str], status: int = 200):
    """A server with attachments 1 to 95 that honours only these of where and orderBy; else ignores or refuses them."""

    async def answer(request):
        query = {name: values[0] for name, values in parse_qs(request.query_string).items()}
        if status != 200 and {"where", "orderBy"} & query.keys() - obeys:
            return web.json_response({"Message": "not supported"}, status=status)
        ids = list(range(1, 96)) if "orderBy" in query.keys() & obeys else list(range(95, 0, -1))
        if "where" in query.keys() & obeys:
            ids = [number for number in ids if number > int(query["where"].split()[-1])]
        skip, take = int(query.get("skip", 0)), min(int(query["take"]), 30)
        page = {"Items": [{"Id": number, "Name": "x"} for number in ids[skip : skip + take]]}
        return web.json_response(page | ({"Next": "http://elsewhere/"} if skip + take < len(ids) else {}))

    return answer


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize("obeys", [set(), {"orderBy"}, {"where"}, {"where", "orderBy"}])
async def test_server_that_ignores_or_refuses_to_sort_or_filter_is_read_whole(obeys, status):
    async with answering(listing(obeys, status)) as url:
        source = TargetprocessSource(client(url), SKIP)
        cursor, found = None, []
        for _ in range(20):
            page = await source.read("Attachments", cursor)
            found += [int(file.id) for file in page.attachments]
            if (cursor := page.next) is None:
                break
        await source.close()
    assert cursor is None
    assert set(found) == set(range(1, 96))


async def test_server_that_gives_the_same_page_again_and_again_is_not_believed():
    async def answer(request):
        take = min(int(request.query["take"]), 30)
        items = [{"Id": number, "Name": "x"} for number in range(1, take + 1)]
        return web.json_response({"Items": items, "Next": "http://elsewhere/"})

    async with answering(answer) as url:
        source = TargetprocessSource(client(url), SKIP)
        with pytest.raises(errors.RejectedError, match="same page"):
            await read_to_the_end(source, "Attachments")
        await source.close()


async def test_links_to_other_hosts_are_never_followed():
    seen = []

    async def elsewhere(request):
        seen.append(request.path_qs)
        return web.json_response({"Items": []})

    async def answer(request):
        if request.path.endswith(".aspx"):
            return web.Response(body=b"ours")
        last = "Id gt 0" not in request.query.get("where", "")
        item = {"Id": 2 if last else 1, "Name": "a", "Size": 4, "Uri": f"{trap}/Attachment.aspx?AttachmentID=1"}
        return web.json_response({"Items": [item]} | ({} if last else {"Next": f"{trap}/api/v1/Attachments?skip=1"}))

    async with answering(elsewhere) as trap, answering(answer) as url:
        source = TargetprocessSource(client(url), SKIP)
        page = await source.read("Attachments", None)
        after = await source.read("Attachments", page.next)
        assert [file.id for file in page.attachments + after.attachments] == ["1", "2"]
        assert bytes((await fetch(source, page.attachments[0])).content) == b"ours"
        await source.close()
    assert seen == []


# Kinds


def without_kinds(lookup: web.Response | dict):
    """A server that doesn't know EntityType in an include, and answers so when it is asked for one entity."""

    async def answer(request):
        if request.path.endswith("/Generals/7"):
            return lookup if isinstance(lookup, web.Response) else web.json_response(lookup)
        if "EntityType[" in request.query.get("include", ""):
            return web.json_response({"Message": "Invalid include field"}, status=400)
        general = {"ResourceType": "General", "Id": 7, "Name": "It"}
        return web.json_response({"Items": [{"Id": 1, "Name": "a", "General": general}]})

    return answer


@pytest.mark.parametrize(
    ("lookup", "kind"),
    [
        ({"Id": 7, "EntityType": {"Name": "Bug"}}, "Bug"),
        ({"Id": 7, "ResourceType": "Task", "EntityType": {"ResourceType": "EntityType"}}, "Task"),
        ({"Id": 7, "ResourceType": "General"}, "General"),
        (web.json_response({}, status=404), "General"),
    ],
)
async def test_kind_that_the_listing_leaves_open_is_asked_for(lookup, kind):
    async with answering(without_kinds(lookup)) as url:
        source = TargetprocessSource(client(url), SKIP)
        page = await source.read("Attachments", None)
        await source.close()
    assert page.attachments[0].owner == page.entities[0].ref == EntityRef(kind, "7")
    assert page.entities[0].title == "It"
    assert page.entities[0].raw is None


# Credentials


@pytest.mark.parametrize(
    ("way", "error"),
    [("page", errors.LoginPageError), ("redirect", errors.LoginPageError), ("unauthorized", errors.AuthError)],
)
async def test_token_that_may_not_fetch_files_says_what_to_configure(way, error):
    file = Attachment(str(WORLD.attachments[0].id), NOBODY, "x.bin", WORLD.attachments[0].size)
    async with running(denies_downloads_with=way) as sandbox, source_of(sandbox, access_token=TOKEN) as source:
        bucket = MemorySink()
        with pytest.raises(error, match=r"source\.download_auth"):
            await source.download(file, bucket)
        assert not bucket.content


@pytest.mark.parametrize("auth", [{"access_token": TOKEN}, {"token": TargetprocessSandbox.service_token}])
async def test_token_reads_the_lists_while_a_cookie_fetches_the_files(auth):
    cookie = {"cookie": TargetprocessSandbox.cookie}
    async with running() as sandbox, source_of(sandbox, files=cookie, **auth) as source:
        file = next(iter((await crawl(source)).attachments.values()))
        assert len((await fetch(source, file)).content) == file.size


async def test_account_that_may_not_use_the_api_is_refused_by_check():
    auth = {"username": "requester", "password": TargetprocessSandbox.password}
    async with running() as sandbox, source_of(sandbox, **auth) as source:
        with pytest.raises(errors.AuthError, match="requesters"):
            await source.check()


@pytest.mark.parametrize("redirected", [True, False])
async def test_login_page_as_api_answer_means_refused_credentials(redirected):
    async def answer(request):
        if redirected:
            return web.Response(status=302, headers={"Location": "/login.aspx?ReturnUrl=x"})
        return web.Response(text="<html><head><title>Log in</title></head></html>", content_type="text/html")

    async with answering(answer) as url:
        source, target = TargetprocessSource(client(url), SKIP), TargetprocessTarget(client(url), SKIP)
        for call in (source.check(), source.read("Attachments", None), source.read("Comments", None)):
            with pytest.raises(errors.AuthError):
                await call
        with pytest.raises((errors.AuthError, errors.LoginPageError)):
            await target.describe(Attachment("1", NOBODY, "a"), "told")
        await source.close()
        await target.close()


async def test_check_names_version_and_account():
    async with running() as sandbox, source_of(sandbox) as source:
        assert await source.check() == "Targetprocess 3.13.12.0 as System"


# Uploads

STORY = EntityRef("UserStory", "101")
DRAFT = Draft("a.txt", "text/plain", "told", 1)


async def test_upload_without_an_answer_is_unanswered():
    async with running() as sandbox, target_of(sandbox) as target:
        sandbox.faults.lose_upload_answers = 1
        with pytest.raises(errors.OutcomeUnknownError):
            await target.upload(STORY, DRAFT, Bytes(b"x"))
        assert [file.name for file in sandbox.state.uploads.values()] == ["a.txt"]


async def test_upload_whose_description_failed_says_so_and_is_not_sent_again():
    async with running() as sandbox, target_of(sandbox) as target:
        sandbox.faults.error_500 = 1.0
        made = await target.upload(STORY, DRAFT, Bytes(b"x"))
        assert made.description == ""
        assert list(sandbox.state.uploads) == [int(made.id)]
        sandbox.faults.error_500 = 0.0
        await target.describe(made, "told")
        assert sandbox.state.files_of(101)[-1].description == "told"


async def test_file_over_the_servers_limit_is_a_definite_no():
    async def answer(request):
        await request.read()
        return error_page("Maximum request length exceeded.", 500)

    async with answering(answer) as url:
        target = TargetprocessTarget(client(url), SKIP)
        with pytest.raises(errors.RejectedError) as caught:
            await target.upload(STORY, DRAFT, Bytes(b"x"))
        await target.close()
    assert not isinstance(caught.value, errors.OutcomeUnknownError)


async def test_server_error_after_an_upload_leaves_open_whether_it_arrived():
    async with running() as sandbox, target_of(sandbox) as target:
        sandbox.faults.fail_uploads = 1
        with pytest.raises(errors.OutcomeUnknownError):
            await target.upload(STORY, DRAFT, Bytes(b"x"))


async def test_forbidden_entity_takes_no_upload():
    async with running() as sandbox, target_of(sandbox) as target:
        sandbox.faults.forbidden_entities = {101}
        with pytest.raises(errors.ForbiddenError):
            await target.upload(STORY, DRAFT, Bytes(b"x"))


async def test_upload_answered_with_a_page_for_people_is_to_be_looked_for():
    async def answer(request):
        await request.read()
        return web.Response(text="<html><title>Welcome</title></html>", content_type="text/html")

    async with answering(answer) as url:
        target = TargetprocessTarget(client(url), SKIP)
        assert await target.upload(STORY, DRAFT, Bytes(b"x")) is None
        await target.close()


# Malformed answers


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no json",
        b"[]",
        b"7",
        b"{}",
        b'{"Items": {}}',
        b"<Attachments>",
        b"<!DOCTYPE x [<!ENTITY e 'x'>]><Attachments>&e;</Attachments>",
        b"[" * 100_000,
        b"<a>" * 5_000 + b"</a>" * 5_000,
    ],
)
async def test_malformed_answer_is_a_wrong_body_whatever_was_asked(body):
    async def answer(request):
        return web.Response(body=body, content_type="application/json")

    async with answering(answer) as url:
        source = TargetprocessSource(client(url), SKIP)
        for stream in source.capabilities.streams:
            with pytest.raises(errors.UnexpectedBodyError):
                await source.read(stream, None)
        await source.close()


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b'{"Items": [7]}', "it is not a JSON object"),
        (b'{"Items": [{}]}', "has no Id"),
        (b'{"Items": [{"Id": "x"}]}', "has no Id"),
        (b"<Attachments><Attachment Name='no id'/></Attachments>", "has no Id"),
    ],
)
async def test_item_that_cannot_be_read_is_one_failure_with_its_place(body, what):
    async def answer(request):
        return web.Response(body=body, content_type="application/json")

    async with answering(answer) as url:
        source = TargetprocessSource(client(url), SKIP)
        for stream in source.capabilities.streams:
            page = await source.read(stream, None)
            (unread,) = page.unread
            assert unread.ref.kind == stream
            assert unread.reason.startswith(f"GET api/v1/{stream}, after id 0: item 1 of 1 ")
            assert what in unread.reason
            assert (page.attachments, page.entities, page.next) == ((), (), None)
        with pytest.raises(errors.UnexpectedBodyError):
            await source.attachments_of(Entity(EntityRef("Bug", "1"), raw="{}"))
        await source.close()


@pytest.mark.parametrize("odd", [None, 7, "x", [], {}, {"Id": None}, {"Id": {}}, [[]]])
async def test_fields_of_the_wrong_type_count_as_missing(odd):
    keys = ["Name", "Description", "Date", "MimeType", "Size", "Owner", "General", "Message", "EntityType"]
    keys += ["Attachments", "Generals", "Attachments-Count"]

    async def answer(request):
        return web.json_response({"Items": [{"Id": 1, **dict.fromkeys(keys, odd)}]})

    async with answering(answer) as url:
        source = TargetprocessSource(client(url), Options())
        (file,) = (await source.read("Attachments", None)).attachments
        for stream in source.capabilities.streams[1:3]:
            await source.read(stream, None)
        await source.close()
    assert (file.id, file.owner, file.created_at) == ("1", NOBODY, "")
    assert json.loads(file.raw)["Id"] == 1


async def test_server_that_often_fails_is_read_whole_and_every_file_is_right():
    patience = RetryPolicy(backoff=0.001, backoff_max=0.002)
    faults = replace(Faults.transient(0.3), throttled=0.0, unavailable=0.0)  # those make everybody wait
    async with running(faults=faults) as sandbox, source_of(sandbox) as inner:
        source = RetryingSource(VerifiedSource(inner), patience)
        files = (await crawl(source)).attachments
        assert Counter(comparable(file) for file in files.values()) == all_in(sandbox)
        for file in files.values():
            assert (await fetch(source, file)).sha256 == sandbox.state.sha256_of(sandbox.state.attachment(int(file.id)))
        assert len(sandbox.faults.injected) >= 3
