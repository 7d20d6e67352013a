"""TeamPulse on servers that lack a route, or tell less than there is: nothing is taken for empty."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest
from aiohttp import web

from migrator import errors
from migrator.model import NOBODY, Attachment, EntityRef
from migrator.sandbox.teampulse.app import TeamPulseSandbox
from migrator.sandbox.teampulse.writes import Writes
from migrator.testing import Bytes, crawl, read_to_the_end
from migrator.trackers.teampulse import ADAPTER
from migrator.trackers.teampulse.parse import total_in
from tests.trackers.test_teampulse import SMALL, composed, draft, expected_names, names, serving, told


class OddSandbox(TeamPulseSandbox):
    """A server that refuses what has a part of `refuses` in its address, and changes its answers by `change`."""

    def __init__(self, world=SMALL, change=None, refuses=None, **oddities):
        super().__init__(world, **oddities)
        self.change, self.refuses = change or (lambda _request, tree: tree), refuses or {}

    def answering(self, handler):
        given = super().answering(handler)

        async def answer(request):
            for part, status in self.refuses.items():
                if part in request.rel_url.human_repr().replace("+", " "):
                    return web.json_response({"message": "no such thing"}, status=status)
            made = await given(request)
            if made.status != 200 or made.content_type != "application/json":
                return made
            return web.json_response(self.change(request, json.loads(made.text)))

        return answer


# What proves that the API is there


@pytest.mark.parametrize("versioned", [True, False])
@pytest.mark.parametrize("status", [403, 404, 500, 501])
async def test_server_that_does_not_tell_the_account_is_known_by_its_lists(status, versioned):
    refuses = {"users/me": status} | ({} if versioned else {"/api/v1": 404})
    async with serving(OddSandbox(refuses=refuses), page_size=5) as (sandbox, src, dst):
        assert await names(src) == expected_names(sandbox)
        assert "its workitems answer, but it doesn't say who is logged in (GET api/" in await src.check()
        assert any("doesn't show the account" in one for one in await src.oddities())
        made = await dst.upload(EntityRef("Story", "101"), draft(), Bytes(b"x"))
        assert made.id in {file.id for file in await dst.find_attachments(EntityRef("Story", "101"))}


async def test_any_one_list_is_proof_enough():
    async with serving(OddSandbox(refuses={"users/me": 404, "workitems": 403})) as (_, src, _):
        assert "its attachments answer" in await src.check()
        assert (await src.read("attachments", None)).attachments
        with pytest.raises(errors.ForbiddenError):
            await src.read("workitems", None)
        assert any(one.startswith("workitems can't be listed") for one in await src.oddities())


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, errors.TrackerUnreachableError), (403, errors.ForbiddenError), (500, errors.RetriableError)],
)
async def test_server_on_which_nothing_answers_is_none_of_ours(status, error):
    async with serving(OddSandbox(refuses={"": status})) as (_, src, _):
        with pytest.raises(error):
            await src.check()


async def test_ordinary_server_has_nothing_odd_to_tell():
    async with serving(TeamPulseSandbox(SMALL)) as (_, src, dst):
        assert await src.oddities() == await dst.oddities() == ()


async def test_what_is_odd_about_lists_is_said():
    async with serving(OddSandbox(refuses={"$filter": 500}), page_size=5) as (_, src, _):
        found = "; ".join(await src.oddities())
    assert "workitems are listed by position" in found
    assert "refuses filters of work items" in found


async def test_total_that_is_never_reached_is_odd():
    def change(_request, tree):
        return {**tree, "totalResults": tree["totalResults"] + 1} if "totalResults" in tree else tree

    async with serving(OddSandbox(change=change)) as (_, src, _):
        found = await src.oddities()
    assert [one.partition(":")[0] for one in found] == ["workitems", "attachments"]


# Lists that end early


@pytest.mark.parametrize("key", ["totalResults", "TotalResults", "TotalCount", "totalCount", "odata.count", "total"])
@pytest.mark.parametrize("stream", ["workitems", "attachments"])
@pytest.mark.parametrize("left", [0, 1, 4])
@pytest.mark.parametrize("filters", [True, False])
async def test_list_that_ends_before_its_own_total_is_an_error(key, stream, left, filters):
    def change(request, tree):
        if "results" not in tree or not request.path.endswith(stream):
            return tree
        early = int(request.query.get("$skip", 0)) > 3 or not request.query.get("$filter", "id gt 0").endswith(" 0")
        return {key: tree["totalResults"], "results": tree["results"][: left if early else None]}

    refuses = {} if filters else {"$filter": 400}
    async with serving(OddSandbox(change=change, refuses=refuses), page_size=5) as (_, src, _):
        if left > (0 if filters else 1):
            await read_to_the_end(src, stream)  # short pages are read on
        else:
            with pytest.raises(errors.ShortListingError):
                await read_to_the_end(src, stream)


@pytest.mark.parametrize("stream", ["workitems", "attachments"])
async def test_empty_list_with_a_total_is_an_error(stream):
    def change(request, tree):
        return {**tree, "results": []} if "results" in tree and "$filter" in request.query else tree

    async with serving(OddSandbox(change=change), page_size=5) as (_, src, _):
        for cursor in (None, '{"after": 2, "seen": 1}'):
            with pytest.raises(errors.ShortListingError, match="total that the server states"):
                await src.read(stream, cursor)


async def test_files_of_a_work_item_are_held_against_their_total():
    def change(request, tree):
        short = "/101/attachments" in request.path
        return {**tree, "results": tree["results"][1:]} if short else tree

    async with serving(OddSandbox(change=change)) as (_, _, dst):
        with pytest.raises(errors.ShortListingError):
            await dst.find_attachments(EntityRef("Story", "101"))


async def test_total_of_all_items_does_not_contradict_a_page_after_an_id():
    def change(request, tree):
        every = {
            "workitems": len(SMALL.entities),
            "attachments": sum(map(bool, map(SMALL.owner_of, SMALL.attachments))),
        }
        name = request.path.rpartition("/")[2]
        return {**tree, "totalResults": every[name]} if name in every else tree

    async with serving(OddSandbox(change=change), page_size=5) as (sandbox, src, _):
        assert await names(src) == expected_names(sandbox)


def test_total_is_found_in_any_spelling_and_only_where_it_is_a_number():
    assert total_in({"totalResults": 3, "results": []}) == 3
    assert total_in({"TOTALCOUNT": "12"}) == 12
    for told_of in (
        None,
        [],
        {},
        {"totalResults": None},
        {"totalResults": -1},
        {"totalResults": "many"},
        {"results": 3},
    ):
        assert total_in(told_of) is None


@pytest.mark.parametrize("status", [401, 403, 404, 500])
@pytest.mark.parametrize("stream", ["workitems", "attachments"])
async def test_odd_answer_in_mid_listing_is_an_error_and_goes_on_when_repeated(stream, status):
    async with serving(OddSandbox(), page_size=5) as (sandbox, src, _):
        first = await src.read(stream, None)
        sandbox.refuses = {f"/{stream}?": status}
        with pytest.raises(errors.MigratorError):
            await src.read(stream, first.next)
        sandbox.refuses = {}
        rest, whole = await crawl(src, (stream, first.next)), await crawl(src, (stream, None))
        assert {entity.ref for entity in first.entities} | rest.entities == whole.entities
        assert {file.id for file in first.attachments} | rest.attachments.keys() == whole.attachments.keys()


async def test_item_that_cannot_be_read_does_not_make_the_total_wrong():
    def change(request, tree):
        if "results" in tree:
            tree["results"] = [{} if item["id"] in {104, 3} else item for item in tree["results"]]
        return tree

    async with serving(OddSandbox(change=change), page_size=5) as (sandbox, src, _):
        for stream, left in (("workitems", 104), ("attachments", 3)):
            pages = await read_to_the_end(src, stream)
            assert {one.ref.kind for page in pages for one in page.unread} == {stream}
            found = {entity.ref.id for page in pages for entity in page.entities}
            found |= {file.id for page in pages for file in page.attachments}
            assert str(left) not in found
            assert len(found) == len(sandbox.state.entities() if stream == "workitems" else told(sandbox)) - 1


# Owners


@pytest.mark.parametrize("status", [400, 500, 501])
async def test_server_that_refuses_or_stumbles_over_filters_is_read_whole(status):
    async with serving(OddSandbox(refuses={"$filter": status}), page_size=5) as (sandbox, src, _):
        done = await crawl(src)
        assert Counter((file.owner, file.name) for file in done.attachments.values()) == expected_names(sandbox)
        assert {ref.id for ref in done.entities} == {str(entity.id) for entity in sandbox.state.entities()}


async def test_unreadable_work_item_is_one_failure_and_its_files_are_kept():
    owner = told(TeamPulseSandbox(SMALL))[0].owner
    refuses = {"id eq ": 500, f"workitems/{owner.id}": 500}
    async with serving(OddSandbox(refuses=refuses)) as (sandbox, src, _):
        for _ in range(2):
            with pytest.raises(errors.RetriableError):
                await src.read("attachments", None)
        page = await src.read("attachments", None)
        assert [(one.ref.id, "status 500" in one.reason) for one in page.unread] == [(owner.id, True)]
        of_nobody = [file for file in page.attachments if file.owner == NOBODY]
        assert len(of_nobody) == sum(file.owner == owner for file in told(sandbox)) > 0


@pytest.mark.parametrize("status", [400, 401, 406, 500])
async def test_unreadable_work_items_are_a_failure_each_and_other_owners_stay(status):
    owners = sorted({file.owner for file in told(TeamPulseSandbox(SMALL))} - {NOBODY}, key=str)
    broken = owners[::2]
    refuses = {"id eq ": 400, **{f"workitems/{owner.id}": status for owner in broken}}
    async with serving(OddSandbox(refuses=refuses)) as (sandbox, src, _):
        for _ in range(2):
            with pytest.raises(errors.MigratorError):
                await src.read("attachments", None)
        page = await src.read("attachments", None)
        assert {one.ref.id for one in page.unread} == {owner.id for owner in broken}
        expected = Counter(NOBODY if file.owner in broken else file.owner for file in told(sandbox))
        assert Counter(file.owner for file in page.attachments) == expected


async def test_proxy_page_in_place_of_filtered_work_items_is_only_a_refusal():
    class Guarded(OddSandbox):
        def answering(self, handler):
            given = super().answering(handler)

            async def answer(request):
                if "id eq" in request.query.get("$filter", ""):
                    return web.Response(text="<html><title>Blocked</title></html>", content_type="text/html")
                return await given(request)

            return answer

    async with serving(Guarded()) as (sandbox, src, _):
        assert await names(src) == expected_names(sandbox)


async def test_owners_are_not_called_deleted_where_no_work_item_can_be_looked_up():
    async with serving(OddSandbox(refuses={"id eq ": 400, "v1/workitems/": 404})) as (sandbox, src, _):
        page = await src.read("attachments", None)
        owners = {file.owner for file in told(sandbox)} - {NOBODY}
        assert {one.ref.id for one in page.unread} == {owner.id for owner in owners}
        assert "may exist" in page.unread[0].reason


@pytest.mark.parametrize("kind", [None, "", "  ", 7, {}])
async def test_work_item_without_a_type_is_kept_with_its_files_and_said(kind):
    def change(_request, tree):
        for item in tree.get("results", [tree]):
            if item.get("id") in {101, 107} and "fields" in item:
                item["type"] = kind
        return tree

    async with serving(OddSandbox(change=change)) as (sandbox, src, _):
        page = await src.read("workitems", None)
        assert EntityRef("WorkItem", "101") in {entity.ref for entity in page.entities}
        assert page.warnings == ("2 work items without a type, and so kept as WorkItem: 101, 107",)
        expected = Counter(
            (EntityRef("WorkItem", owner.id) if owner.id in {"101", "107"} else owner, name)
            for (owner, name), count in expected_names(sandbox).items()
            for _ in range(count)
        )
        assert await names(src) == expected
        assert {entity.ref.kind for entity in page.entities} <= set(src.capabilities.kinds)


def test_kinds_are_the_types_that_work_items_have():
    assert {"Story", "Bug", "Task", "Feature", "Issue", "Risk", "Feedback"} <= set(ADAPTER.capabilities.kinds)


# Whether a file is still listed


async def test_file_that_does_not_come_is_still_listed_while_its_record_is_there():
    async with serving(TeamPulseSandbox(SMALL)) as (sandbox, src, _):
        files = list((await crawl(src)).attachments.values())
        for file in files:
            assert await src.still_lists(file)
            assert await src.still_lists(replace(file, owner=NOBODY))
        for file in files[:2]:
            sandbox.state.delete(int(file.id))
            assert not await src.still_lists(file)
            assert not await src.still_lists(replace(file, owner=NOBODY))


async def test_without_records_the_item_s_list_may_tell_but_its_silence_may_not():
    async with serving(OddSandbox(refuses={"v1/attachments/": 404})) as (sandbox, src, _):
        file = (await src.read("attachments", None)).attachments[0]
        assert await src.still_lists(file)
        sandbox.state.delete(int(file.id))
        for unknown in (file, replace(file, owner=NOBODY), Attachment("99999", EntityRef("Bug", "99999"), "x")):
            with pytest.raises(errors.GoneError):
                await src.still_lists(unknown)


# Uploads


async def test_answer_to_an_upload_that_leaves_the_name_open_tells_the_id():
    class Curt(Writes):
        def created(self, collection, record):
            return web.json_response({"id": record["id"]}, status=201)

    async with serving(composed(writes=Curt)) as (_, _, dst):
        made = await dst.upload(EntityRef("Story", "101"), draft("b.txt"), Bytes(b"x"))
        assert made.name == "b.txt"
        assert made.id in {file.id for file in await dst.find_attachments(EntityRef("Story", "101"))}
