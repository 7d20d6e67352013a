"""Targetprocess on servers that lack a route, or tell less than there is: nothing is taken for empty."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import unquote_plus

import pytest
from aiohttp import web

from migrator import errors
from migrator.config.settings import read_configuration
from migrator.jobs.wiring import wire_source
from migrator.model import NOBODY, Attachment, Draft, Entity, EntityRef
from migrator.sandbox.targetprocess.api import Api
from migrator.sandbox.targetprocess.app import TargetprocessSandbox
from migrator.sandbox.targetprocess.files import PIXEL
from migrator.sandbox.targetprocess.lists import Lists
from migrator.testing import Bytes, MemorySink, crawl, fetch, read_to_the_end
from migrator.trackers.targetprocess import ADAPTER, Options, TargetprocessSource, TargetprocessTarget
from migrator.trackers.targetprocess.parse import attachment, iso_date
from tests.trackers.targetprocess_bound import SKIP, WORLD, all_in, all_of, answering, client

NO_ROUTE = [400, 404, 405, 501]
CROWDED = replace(
    WORLD,
    attachments=tuple(
        replace(WORLD.attachments[0], id=number, entity_id=101, comment_id=None, message_id=None)
        for number in range(1, 61)
    ),
)


class OddSandbox(TargetprocessSandbox):
    """A server that refuses the paths of `refuses` with their status, and changes answers by `change`."""

    def __init__(self, world=WORLD, change=None, refuses=None, **oddities):
        super().__init__(world, **oddities)
        self.change, self.refuses = change or (lambda _request, tree: tree), refuses or {}
        self.asked: list[str] = []

    def answering(self, handler):
        given = super().answering(handler)

        async def answer(request):
            return await self._answered(request, given)

        return answer

    async def _answered(self, request, given):
        path = request.path.removeprefix(self.base_path + "/api/v1/")
        self.asked.append(path)
        for part, status in self.refuses.items():
            if part in f"{path}?{unquote_plus(request.query_string)}":
                return web.json_response({"Message": "no such thing"}, status=status)
        answer = await given(request)
        if answer.status != 200 or answer.content_type != "application/json":
            return answer
        return web.json_response(self.change(request, json.loads(answer.text)))


def with_lists(sandbox: TargetprocessSandbox, lists: type[Lists]) -> TargetprocessSandbox:
    """The same server with lists of another kind."""
    sandbox.lists = lists(sandbox, sandbox.quirks, sandbox.place)
    sandbox.api = Api(sandbox.state, sandbox.access, sandbox.lists, sandbox.place)
    return sandbox


@asynccontextmanager
async def odd(options=SKIP, world=WORLD, **how):
    async with OddSandbox(world, **how) as sandbox:
        source = TargetprocessSource(client(sandbox.url), options)
        yield sandbox, source
        await source.close()


def with_files(sandbox):
    """An entity with several files, as the listing tells of it."""
    entity = next(one for one in sandbox.state.entities() if len(sandbox.lists.attached(one.id)) > 1)
    return EntityRef(sandbox.kind_of(entity.id), str(entity.id)), len(sandbox.lists.attached(entity.id))


def counted(ref, count):
    return Entity(ref, raw=json.dumps({"Id": int(ref.id), "Attachments-Count": count}))


# What proves that the API is there


@pytest.mark.parametrize("status", [403, 404, 500, 501])
async def test_server_without_a_context_is_known_by_its_lists(status):
    async with odd(refuses={"Context": status}) as (sandbox, source):
        assert f"status {status}" in await source.check()
        assert await all_of(source) == all_in(sandbox)
        assert any("shows neither the account" in one for one in await source.oddities())


async def test_any_one_list_is_proof_enough():
    async with odd(refuses={"Context": 404, "Attachments?": 403}) as (_, source):
        assert "Generals answer" in await source.check()


@pytest.mark.parametrize("status", [404, 500])
async def test_server_on_which_nothing_answers_is_none_of_ours(status):
    async with odd(refuses={"": status}) as (_, source):
        with pytest.raises((errors.GoneError, errors.RetriableError)):
            await source.check()


@pytest.mark.parametrize("lost", ["Generals", "Comments", "Messages"])
async def test_list_that_is_refused_fails_alone(lost):
    async with odd(refuses={f"{lost}?": 403}) as (_, source):
        for stream in source.capabilities.streams:
            if stream == lost:
                with pytest.raises(errors.ForbiddenError):
                    await source.read(stream, None)
            else:
                await source.read(stream, None)
        assert any(one.startswith(f"{lost} can't be listed") for one in await source.oddities())


@pytest.mark.parametrize("page_size", [SKIP.page_size, 500])
async def test_ordinary_server_has_nothing_odd_to_tell(page_size):
    async with odd(replace(SKIP, page_size=page_size)) as (sandbox, source):
        assert await source.oddities() == ()
        target = TargetprocessTarget(client(sandbox.url), SKIP)
        assert await target.oddities() == ()
        await target.close()


async def test_what_is_odd_about_lists_is_said():
    async with odd(replace(SKIP, page_size=30), counts=False, sortable=False) as (_, source):
        found = "; ".join(await source.oddities())
    assert "Generals: the server refuses some of the requested fields; the files of every entity" in found
    assert "Attachments are listed by position" in found


# Lists that end early


@pytest.mark.parametrize("stream", ["Attachments", "Generals", "Comments", "Messages"])
@pytest.mark.parametrize("form", ["json", "xml"])
async def test_empty_page_that_tells_of_a_next_one_is_an_error(stream, form):
    async def answer(request):
        if form == "json":
            return web.json_response({"Items": [], "Next": "http://elsewhere/"})
        return web.Response(text='<X Next="http://elsewhere/"/>', content_type="application/xml")

    async with answering(answer) as url:
        source = TargetprocessSource(client(url), replace(SKIP, format=form))
        for cursor in (None, '{"after": 7}', '{"offset": 9, "anchor": 7, "back": 0}'):
            with pytest.raises(errors.ShortListingError):
                await crawl(source, (stream, cursor))
        await source.close()


@pytest.mark.parametrize("sortable", [True, False])
@pytest.mark.parametrize("cut", [1, 3])
async def test_pages_that_are_shorter_than_asked_for_are_read_on(cut, sortable):
    def change(request, tree):
        if "Items" not in tree or len(tree["Items"]) < 4:
            return tree
        return {**tree, "Items": tree["Items"][:-cut], "Next": "http://elsewhere/"}

    async with odd(replace(SKIP, page_size=10), change=change, sortable=sortable) as (sandbox, source):
        assert await all_of(source) == all_in(sandbox)


@pytest.mark.parametrize("cap", [7, 25, 40])
async def test_server_that_never_tells_of_a_next_page_is_read_to_its_end(cap):
    class Silent(Lists):
        def page(self, request, resource, rows):
            query = {**request.query, "take": str(min(cap, int(request.query.get("take", 25))))}
            page = super().page(request.clone(rel_url=request.rel_url.with_query(query)), resource, rows)
            return {name: value for name, value in page.items() if name != "Next"}

    async with with_lists(OddSandbox(CROWDED if cap > 7 else WORLD), Silent) as sandbox:
        source = TargetprocessSource(client(sandbox.url), SKIP)
        assert await all_of(source) == all_in(sandbox)
        await source.close()


@pytest.mark.parametrize("status", [401, 404, 403, 500])
@pytest.mark.parametrize("stream", ["Attachments", "Generals", "Comments"])
async def test_odd_answer_in_mid_listing_is_an_error_and_goes_on_when_repeated(stream, status):
    async with odd(replace(SKIP, page_size=9)) as (sandbox, source):
        first = await source.read(stream, None)
        sandbox.refuses = {f"{stream}?": status}
        with pytest.raises(errors.MigratorError):
            await source.read(stream, first.next)
        sandbox.refuses = {}
        rest = await crawl(source, (stream, first.next))
        whole = await crawl(source, (stream, None))
        assert {entity.ref for entity in first.entities} | rest.entities == whole.entities
        asked = {file.id for entity in first.ask for file in await source.attachments_of(entity)}
        found = asked | {file.id for file in first.attachments}
        assert found | rest.attachments.keys() == whole.attachments.keys()


async def test_page_of_a_proxy_in_the_middle_is_no_refusal_of_the_credentials():
    async def answer(request):
        return web.Response(text="<html><title>Down for maintenance</title></html>", content_type="text/html")

    async with answering(answer) as url:
        source = TargetprocessSource(client(url), SKIP)
        with pytest.raises(errors.UnexpectedBodyError, match="Down for maintenance"):
            await source.read("Attachments", '{"after": 7}')
        await source.close()


# The number of files that an entity tells of


@pytest.mark.parametrize("check", ["counts", "all", "off"])
async def test_entity_with_more_files_than_are_found_fails_with_both_counts(check):
    def change(request, tree):
        def more(item):
            return {**item, "Attachments-Count": item["Attachments-Count"] + 2} if "Attachments-Count" in item else item

        return {**more(tree), "Items": [more(item) for item in tree["Items"]]} if "Items" in tree else more(tree)

    async with odd(replace(SKIP, cross_check=check), change=change) as (sandbox, source):
        ref, count = with_files(sandbox)
        await crawl_listings(source)
        page = await source.read("Generals", None)
        entity = next(one for one in page.ask if one.ref == ref)
        with pytest.raises(errors.ShortListingError, match=f"{count + 2} files, and {count} of them"):
            await source.attachments_of(entity)
        with pytest.raises(errors.ShortListingError):
            await source.attachments_of(Entity(ref))


async def crawl_listings(source):
    """Read all attachments, without what is asked for beside."""
    cursor = None
    while True:
        page = await source.read("Attachments", cursor)
        if (cursor := page.next) is None:
            return


async def test_file_that_was_deleted_since_the_entity_was_listed_is_no_failure():
    async with odd() as (sandbox, source):
        ref, count = with_files(sandbox)
        sandbox.state.delete(sandbox.lists.attached(int(ref.id))[0].id)
        assert len(await source.attachments_of(counted(ref, count))) == count - 1


async def test_file_that_only_the_list_of_all_shows_counts_for_its_entity():
    class Hiding(Lists):
        def attached(self, entity_id):
            files = super().attached(entity_id)
            return files[:-1] if self.hiding else files

        hiding = False

    async with with_lists(OddSandbox(), Hiding) as sandbox:
        source = TargetprocessSource(client(sandbox.url), SKIP)
        ref, count = with_files(sandbox)
        listed = (await source.read("Generals", None)).entities
        entity = next(one for one in listed if one.ref == ref)
        sandbox.lists.hiding = True
        sandbox.change = lambda _, tree: {**tree, "Attachments-Count": count} if "Attachments-Count" in tree else tree
        assert len(await source.attachments_of(entity)) == count
        sandbox.quirks.sortable = False  # no filter of all attachments either
        with pytest.raises(errors.ShortListingError):
            await source.attachments_of(entity)
        await source.close()


# The second way to an entity's files


@pytest.mark.parametrize("form", ["json", "xml"])
@pytest.mark.parametrize("status", NO_ROUTE)
async def test_where_entities_have_no_list_what_stands_inside_of_them_is_read(status, form):
    how = {"hidden_from_collection": {file.id for file in WORLD.attachments if file.entity_id is not None}}
    options = replace(SKIP, format=form)
    async with odd(options, refuses={"/Attachments?": status}, xml_only=form == "xml", **how) as (sandbox, source):
        assert await all_of(source) == all_in(sandbox)
        asked = [path for path in sandbox.asked if path.endswith("/Attachments")]
        assert len(asked) <= 2, "a route that is not there is not tried for each entity"
        assert any("no list of their files" in one for one in await source.oddities())


async def test_only_the_vendors_spelling_is_understood_and_records_tell_the_rest():
    class Plain(OddSandbox):
        async def _answered(self, request, given):
            query = request.query
            bare = query.get("include") == "[Attachments]" and not {"innerTake", "append"} & query.keys()
            if "/Generals/" in request.path and not bare:
                return web.json_response({"Message": "no"}, status=400)
            return await super()._answered(request, given)

    hidden = {file.id for file in WORLD.attachments if file.entity_id is not None}
    async with Plain(hidden_from_collection=hidden) as sandbox:
        source = TargetprocessSource(client(sandbox.url), SKIP)
        for entity in (await source.read("Generals", None)).ask:
            there = sandbox.lists.attached(int(entity.ref.id))
            if len(there) > 25:  # so many stand inside of an entity where nobody may say how many
                with pytest.raises(errors.ShortListingError, match=f"{len(there)} files, and 25"):
                    await source.attachments_of(entity)
                continue
            found = await source.attachments_of(entity)
            assert {(file.name, file.size) for file in found} == {(file.name, file.size) for file in there}
        await source.close()


@pytest.mark.parametrize("filters", [True, False])
async def test_what_stands_inside_is_not_believed_where_it_may_be_cut(filters):
    def change(request, tree):
        inside = tree.get("Attachments")
        return {**tree, "Attachments": {"Items": inside["Items"][:25]}} if inside else tree

    refuses = {"/Attachments?": 404} | ({} if filters else {"General.Id": 400})
    async with odd(world=CROWDED, change=change, refuses=refuses, counts=False) as (_, source):
        entity = counted(EntityRef("UserStory", "101"), None)
        if filters:
            assert len(await source.attachments_of(entity)) == 60
        else:
            with pytest.raises(errors.ShortListingError):
                await source.attachments_of(entity)


async def test_filter_that_a_server_ignores_adds_no_files_of_others():
    def change(request, tree):
        inside = tree.get("Attachments")
        return {**tree, "Attachments": {"Items": inside["Items"][:1]}} if inside else tree

    class Ignoring(Lists):
        def page(self, request, resource, rows):
            query = {name: value for name, value in request.query.items() if "General.Id" not in value}
            return super().page(request.clone(rel_url=request.rel_url.with_query(query)), resource, rows)

    odd_one = OddSandbox(change=change, refuses={"/Attachments?": 404})
    async with with_lists(odd_one, Ignoring) as sandbox:
        source = TargetprocessSource(client(sandbox.url), SKIP)
        ref, count = with_files(sandbox)
        files = await source.attachments_of(counted(ref, count))
        assert {int(file.id) for file in files} == {file.id for file in sandbox.lists.attached(int(ref.id))}
        await source.close()


@pytest.mark.parametrize("status", NO_ROUTE)
async def test_missing_entity_is_gone_by_either_way(status):
    async with odd(refuses={"/Attachments?": status}) as (_, source):
        for entity in (Entity(EntityRef("Bug", "99999")), counted(EntityRef("Bug", "99999"), 3)):
            with pytest.raises(errors.GoneError):
                await source.attachments_of(entity)


async def test_refusal_of_both_ways_is_a_failure_and_not_an_empty_list():
    async with odd(refuses={"/Attachments?": 404, "include=[Id,Attach": 403}) as (
        s,
        source,
    ):
        ref, count = with_files(s)
        with pytest.raises(errors.RejectedError):
            await source.attachments_of(counted(ref, count))


@pytest.mark.parametrize("status", [403, 409, 500])
async def test_entity_whose_list_is_refused_is_read_from_inside_if_that_is_all(status):
    async with odd(refuses={"/Attachments?": status}) as (sandbox, source):
        ref, count = with_files(sandbox)
        assert len(await source.attachments_of(counted(ref, count))) == count
        assert any("read from the entity itself" in words for words in await source.oddities())
        sandbox.change = lambda _request, tree: (
            {**tree, "Attachments": {"Items": []}} if "Attachments" in tree else tree
        )
        with pytest.raises(errors.ItemFailedError, match=f"status {status}"):
            await source.attachments_of(counted(ref, count))
        assert not source._files.by_inclusion


async def test_empty_list_of_all_is_a_failure_where_entities_tell_of_files():
    def change(request, tree):
        return {"Items": []} if request.path.endswith("v1/Attachments") else tree

    async with odd(change=change) as (_, source):
        await source.read("Attachments", None)
        pages = await read_to_the_end(source, "Generals")
        assert any("list of all attachments is empty" in words for words in await source.oddities())
    assert ["has 0" in one.reason for page in pages for one in page.unread] == [True]


async def test_list_of_all_that_lacks_many_files_that_entities_tell_of_is_odd():
    def change(request, tree):
        return {"Items": tree["Items"][:5]} if request.path.endswith("v1/Attachments") else tree

    async with odd(replace(SKIP, page_size=500), change=change) as (_, source):
        assert (await source.read("Attachments", None)).next
        assert not (await source.read("Attachments", '{"after": 999999}')).next
        pages = await read_to_the_end(source, "Generals")
    assert "the list of all attachments has 5" in pages[-1].warnings[0]
    async with odd() as (_, source):
        await read_to_the_end(source, "Attachments")
        assert not any(page.warnings for page in await read_to_the_end(source, "Generals"))


async def test_server_that_embeds_no_files_is_asked_for_the_list_of_each_entity():
    async with odd(refuses={"Attachments]": 400, "Attachments[": 400}) as (sandbox, source):
        ref, count = with_files(sandbox)
        assert len(await source.attachments_of(Entity(ref))) == count
        with pytest.raises(errors.ShortListingError):
            await source.attachments_of(counted(ref, count + 1))


async def test_list_that_was_not_found_once_does_not_change_the_way_for_good():
    async with odd() as (sandbox, source):
        ref, count = with_files(sandbox)
        await source.attachments_of(counted(ref, count))
        sandbox.refuses = {"/Attachments?": 404}
        assert len(await source.attachments_of(counted(ref, count))) == count
        sandbox.refuses = {}
        sandbox.asked.clear()
        await source.attachments_of(counted(ref, count))
        assert sandbox.asked == [f"Generals/{ref.id}/Attachments"]


# The second way to a file


def serving(paths, **more):
    """A server that has one attachment, told with this `Uri`, and gives it under these paths (and queries)."""

    async def answer(request):
        answer.asked.append(request.raw_path)
        if "/api/" in request.path:
            return web.json_response({"Items": [{"Id": 1, "Name": "a", "Size": 4, **more}]})
        return web.Response(body=b"ours") if request.raw_path in paths else web.Response(status=404)

    answer.asked = []
    return answer


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("http://inside:81/storage/v1/a%20b.txt", "/storage/v1/a%20b.txt"),
        ("http://inside/tp/storage/größe (1) 50% off.txt", "/tp/storage/gr%C3%B6%C3%9Fe%20(1)%2050%25%20off.txt"),
        ("\n  https://inside/Files.aspx?id=7&x=y \n", "/Files.aspx?id=7&x=y"),
        ("/Attachments/1/a.txt", "/Attachments/1/a.txt"),
        ("http://inside/Attachment.aspx?AttachmentID=77", "/Attachment.aspx?AttachmentID=77"),
        ("http://inside/Attachment.aspx?AttachmentID=1", "/attachment.aspx?attachmentid=1"),
        (None, "/attachment.aspx?attachmentid=1"),
    ],
)
async def test_file_that_is_not_found_by_its_id_is_fetched_where_its_record_says(uri, path):
    answer = serving({path}, Uri=uri)
    async with answering(answer) as url:
        source = TargetprocessSource(client(url), SKIP)
        (file,) = (await source.read("Attachments", None)).attachments
        assert bytes((await fetch(source, file)).content) == b"ours"
        assert answer.asked[-1] == path
        assert "/Attachment.aspx?AttachmentID=1" in answer.asked
        await source.close()


async def test_file_that_no_address_gives_is_gone_as_the_first_said():
    async with answering(serving(set(), Uri="http://inside/x/y.txt")) as url:
        source = TargetprocessSource(client(url), SKIP)
        (file,) = (await source.read("Attachments", None)).attachments
        with pytest.raises(errors.GoneError, match=r"GET Attachment\.aspx"):
            await fetch(source, file)
        await source.close()


@pytest.mark.parametrize("uri", ["http://[", "", 7, {}, "http://inside/Attachment.aspx?AttachmentID=12"])
def test_uri_that_is_none_or_tells_nothing_new_is_left_out(uri):
    found = attachment({"Id": 12, "Uri": uri}, NOBODY, client("http://tp.example").path_of)
    assert found.locator == ""


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("~/images/my%20shot (1).png", "/tp/images/my%20shot%20(1).png"),
        ("~/images/Größe 50% off.png", "/tp/images/Gr%C3%B6%C3%9Fe%2050%25%20off.png"),
        ("~/uploads/a%C3%A4 ü.png", "/tp/uploads/a%C3%A4%20%C3%BC.png"),
        ("~/images/plain.png", "/tp/images/plain.png"),
        ("~/images/R&amp;D %zz.png", "/tp/images/R&D%20%25zz.png"),
    ],
)
async def test_image_of_a_text_is_asked_for_by_its_address_encoded_once(written, sent):
    asked = []

    async def answer(request):
        if "/api/" not in request.raw_path:
            asked.append(request.raw_path)
            return web.Response(body=PIXEL, content_type="image/png")
        text = f'<img src="{written}">' if "/Generals" in request.path else ""
        return web.json_response({"Items": [{"Id": 1, "Description": text, "EntityType": {"Name": "Bug"}}]})

    async with answering(answer) as url:
        source = TargetprocessSource(client(f"{url}/tp"), Options())
        (image,) = (await source.read("Generals", None)).attachments
        await fetch(source, image)
        await source.close()
    assert asked == [sent]
    assert ADAPTER.url_of("http://tp", image) == "http://tp" + sent.removeprefix("/tp")


# Whether a file is still listed


async def test_file_that_does_not_come_is_still_listed_while_its_record_is_there():
    async with odd(Options(page_size=40)) as (sandbox, source):
        for file in (await crawl(source)).attachments.values():
            assert await source.still_lists(file), file
        comment = next(file for file in WORLD.attachments if file.comment_id is not None)
        loose = next(file for file in WORLD.attachments if WORLD.owner_of(file) is None)
        own = next(file for file in WORLD.attachments if file.entity_id is not None and file.comment_id is None)
        for file in (comment, loose, own):
            sandbox.state.delete(file.id)
            owner = NOBODY if file is loose else EntityRef("Bug", str(WORLD.owner_of(file)))
            known = Attachment(str(file.id), owner, file.name, comment_id=file.comment_id and str(file.comment_id))
            assert not await source.still_lists(known)


async def test_without_records_an_entity_s_list_may_tell_but_not_by_silence():
    async with odd(refuses={"Attachments/": 404}) as (sandbox, source):
        ref, _ = with_files(sandbox)
        file = sandbox.lists.attached(int(ref.id))[0]
        known = Attachment(str(file.id), ref, file.name)
        assert await source.still_lists(known)
        sandbox.state.delete(file.id)
        for unknown in (known, Attachment("99999", NOBODY, "x")):
            with pytest.raises(errors.GoneError):
                await source.still_lists(unknown)


async def test_image_of_a_text_is_still_listed_while_the_text_shows_it():
    async with odd(Options(page_size=40)) as (sandbox, source):
        image = next(file for file in (await crawl(source)).attachments.values() if file.id.startswith("inline:"))
        assert await source.still_lists(image)
        number = int(image.owner.id)
        sandbox.change = lambda _, tree: {**tree, "Description": ""} if tree.get("Id") == number else tree
        assert not await source.still_lists(image)


# Kinds and dates


async def test_kinds_are_those_of_every_account_and_those_that_the_option_adds():
    async with odd(replace(SKIP, own_kinds=("Risk", "Bug"))) as (_, source):
        kinds = source.capabilities.kinds
    assert len(set(kinds)) == len(kinds)
    assert {"UserStory", "TestPlanRun", "General", "Risk"} <= set(kinds)
    assert "Risk" not in ADAPTER.capabilities.kinds


@pytest.mark.parametrize(
    ("kinds", "own", "said"),
    [
        (["UserStory", "Bug"], [], ""),
        (["UserStroy"], [], "did you mean UserStory"),
        (["Issues"], [], "no kind 'Issues'"),
        (["Risk"], [], "no kind 'Risk'"),
        (["Risk", "Bug"], ["Risk"], ""),
        (["Risks"], ["Risk"], "did you mean Risk"),
    ],
)
def test_kind_that_no_entity_can_have_is_refused_with_the_nearest(tmp_path, kinds, own, said):
    file = tmp_path / "tp.toml"
    file.write_text(
        f"""archive = "archive"
[source]
tracker = "targetprocess"
url = "http://tp.example"
kinds = {json.dumps(kinds)}
auth = {{ access_token = "x" }}
options = {{ own_kinds = {json.dumps(own)} }}
"""
    )
    if said:
        with pytest.raises(errors.ConfigError, match=said):
            wire_source(read_configuration(file))
    else:
        assert set(kinds) <= set(wire_source(read_configuration(file)).tracker.capabilities.kinds)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/Date(1772356830000+0100)/", "2026-03-01T10:20:30.000+01:00"),
        ("/Date(1772356830120+0100)/", "2026-03-01T10:20:30.12+01:00"),
        ("/Date(1772356830000+0000)/", "2026-03-01T09:20:30Z"),
        ("/Date(1772356830000)/", "2026-03-01T09:20:30.0000000+00:00"),
    ],
)
def test_same_moment_has_one_spelling_in_json_and_in_xml(one, other):
    assert iso_date(one) == iso_date(other) != ""


async def test_date_in_xml_has_the_clock_of_the_one_in_json_without_its_zone():
    dates = []
    for form in ("json", "xml"):
        async with odd(replace(SKIP, format=form)) as (_, source):
            dates.append([file.created_at for file in (await source.read("Attachments", None)).attachments])
    assert [date.removesuffix("+01:00") for date in dates[0]] == dates[1]


# Uploads


@pytest.mark.parametrize("record", [200, 404, 500])
async def test_file_whose_name_the_upload_page_omits_is_asked_for_by_its_id(record):
    async def answer(request):
        await request.read()
        if request.path.endswith(".ashx"):
            return web.json_response({"items": [{"id": 7, "name": "undefined"}]})
        return web.json_response({"Id": 7, "Name": "kept_as.txt", "Size": 1}, status=record)

    async with answering(answer) as url:
        target = TargetprocessTarget(client(url), SKIP)
        made = await target.upload(EntityRef("Bug", "1"), Draft("a.txt", "text/plain", "", 1), Bytes(b"x"))
        await target.close()
    assert (made.id, made.name) == ("7", "kept_as.txt" if record == 200 else "a.txt")


async def test_read_back_goes_the_second_way_too():
    async with answering(serving({"/attachment.aspx?attachmentid=1"})) as url:
        target, bucket = TargetprocessTarget(client(url), SKIP), MemorySink()
        await target.read_back(Attachment("1", NOBODY, "a", 4), bucket)
        await target.close()
    assert bytes(bucket.content) == b"ours"
