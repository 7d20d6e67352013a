"""What a Redmine has beside its issues: what is off, forbidden, broken, cut off or not in its API, and how it is told.

The contract itself is kept in `test_redmine.py`.
"""

from __future__ import annotations

import json

import pytest
from aiohttp import web

from migrator import errors
from migrator.config.settings import options_of, read_configuration
from migrator.jobs.wiring import wire_source, wire_target_listing
from migrator.model import Attachment, Draft, Entity, EntityRef, Page
from migrator.testing import Bytes, crawl, fetch, read_to_the_end
from migrator.trackers.failed_attempts import MAX_ATTEMPTS
from migrator.trackers.redmine import ADAPTER, Options, RedmineSource
from migrator.trackers.redmine.containers import OTHER_STREAMS
from tests.support.parts import run_backup
from tests.trackers.fake_redmine import FakeRedmine
from tests.trackers.fake_redmine_beside import Space
from tests.trackers.test_redmine import seeded_beside, source, target


@pytest.fixture
async def fake():
    async with FakeRedmine().running() as made:
        yield made


async def asked_in_vain(made: RedmineSource, stream: str) -> Page:
    """The page after so many tries that a broken route is told as such."""
    for _ in range(MAX_ATTEMPTS - 1):
        with pytest.raises(errors.RetriableError):
            await made.read(stream, None)
    return await made.read(stream, None)


def paths(fake: FakeRedmine) -> list[str]:
    return [path for _, path, _ in fake.requests]


# --- what is read


async def test_archived_project_is_not_asked_for_anything(fake):
    seeded_beside(fake)
    await crawl(source(fake.url))
    assert not [path for path in paths(fake) if "archived" in path]


async def test_module_that_is_off_is_not_asked_for(fake):
    seeded_beside(fake)
    await crawl(source(fake.url))
    assert {path for path in paths(fake) if path.startswith(("projects/below/", "projects/shut/"))} == {
        "projects/below/versions.json",
        "projects/below/files.json",
        "projects/shut/news.json",
    }


async def test_only_a_project_and_those_below_it_are_read_by_option(fake):
    seeded_beside(fake)
    for name in ("demo", "1"):
        found = await crawl(source(fake.url, options=Options(project=name, also=("files", "news"))))
        projects = {ref.id for ref in found.entities if ref.kind == "Project"}
        assert projects == {"1", "2"}
        assert len([ref for ref in found.entities if ref.kind == "News"]) == 2


async def test_what_a_project_shares_or_nobody_owns_is_not_read_with_another(fake):
    """The versions of one project may be shared with others; users belong to none."""
    seeded_beside(fake)
    found = await crawl(source(fake.url, options=Options(project="below")))
    kinds = {"Version", "User"}
    assert {ref for ref in found.entities if ref.kind in kinds} == {EntityRef("Version", "72")}
    assert {file.owner for file in found.attachments.values() if file.owner.kind in kinds} == {
        EntityRef("Version", "72")
    }


async def test_project_that_is_new_is_found_by_the_next_crawl(fake):
    seeded_beside(fake)
    made = source(fake.url)
    await crawl(made)
    fake.spaces.append(Space(9, "new", wiki=["Page"]))
    assert EntityRef("WikiPage", "new/Page") in (await crawl(made)).entities


async def test_project_that_nobody_sees_is_no_empty_one(fake):
    seeded_beside(fake)
    made = source(fake.url, options=Options(project="archived"))
    with pytest.raises(errors.GoneError, match="archived"):
        await made.read("wiki", None)


async def test_project_with_issues_off_has_none_and_those_below_are_missed(fake):
    seeded_beside(fake)
    fake.answers_with["issues.json"] = web.Response(status=403)
    assert await source(fake.url, options=Options(project="shut")).read("issues", None) == Page()
    with pytest.raises(errors.ForbiddenError):
        await source(fake.url, options=Options(project="below")).read("issues", None)
    fake.spaces[0].modules = ("wiki",)
    with pytest.raises(errors.RejectedError, match="below"):
        await source(fake.url, options=Options(project="demo")).read("issues", None)


@pytest.mark.parametrize("also", [(), ("news",), ("files", "wiki"), OTHER_STREAMS])
async def test_only_what_the_option_names_is_read(fake, also):
    seeded_beside(fake)
    made = source(fake.url, options=Options(also=also))
    assert set(made.capabilities.streams) == {"issues", *also}
    kinds = {file.owner.kind for file in (await crawl(made)).attachments.values()}
    assert ("News" in kinds) == ("news" in also)
    assert ("WikiPage" in kinds) == ("wiki" in also)
    assert ("TimeEntry" in kinds) == ("custom_fields" in also)
    assert any("projects" in path for path in paths(fake)) == bool(also)


def test_word_that_is_none_of_them_is_a_configuration_error():
    with pytest.raises(errors.ConfigError, match=r"source\.options\.also.*'wiki'"):
        options_of({"also": ["wikis"]}, Options, "source.options")
    assert options_of({"also": ["wiki", "news"]}, Options, "source.options").also == ("wiki", "news")


async def test_all_kinds_are_told_and_a_target_takes_issues_only(fake):
    entities, _ = seeded_beside(fake)
    assert {ref.kind for ref in entities} | {"Group"} == set(ADAPTER.capabilities.kinds)
    goal = target(fake.url)
    assert goal.capabilities.kinds == ("Issue",)
    for ref in (EntityRef("WikiPage", "demo/Start"), EntityRef("News", "1")):
        with pytest.raises(errors.RejectedError, match="can be added to issues only"):
            await goal.find_attachments(ref)


async def test_key_in_a_users_record_is_not_kept(fake):
    seeded_beside(fake)
    pages = await read_to_the_end(source(fake.url), "custom_fields")
    [user] = [entity for page in pages for entity in page.entities if entity.ref.kind == "User"]
    assert "api_key" not in json.loads(user.raw)


# --- totals


@pytest.mark.parametrize("lacking", [1, 2, 3])
async def test_issues_are_held_against_their_total(fake, lacking):
    for number in range(3):
        fake.issue(f"issue {number}")
    fake.lists_fewer["issues"] = lacking
    with pytest.raises(errors.ShortListingError):
        await read_to_the_end(source(fake.url), "issues")


async def test_projects_are_held_against_their_total(fake):
    seeded_beside(fake)
    fake.lists_fewer["projects"] = 1
    for stream in OTHER_STREAMS:
        with pytest.raises(errors.ShortListingError, match="2 of 3"):
            await source(fake.url).read(stream, None)


@pytest.mark.parametrize(("stream", "name"), [("news", "news"), ("versions", "versions")])
async def test_list_of_a_project_is_held_against_its_total_and_is_one_failure(fake, stream, name):
    seeded_beside(fake)
    fake.lists_fewer[name] = 1
    made = source(fake.url)
    page = await asked_in_vain(made, stream)
    broken = [entity for entity in page.ask if entity.ref.id == f"projects/demo/{name}.json"]
    assert broken
    with pytest.raises(errors.ShortListingError):
        await made.attachments_of(broken[0])


async def test_users_are_held_against_their_total(fake):
    seeded_beside(fake)
    fake.lists_fewer["users"] = 1
    with pytest.raises(errors.ShortListingError):
        await read_to_the_end(source(fake.url), "custom_fields")


async def test_list_that_changes_while_it_is_read_is_read_again(fake, monkeypatch):
    seeded_beside(fake)
    monkeypatch.setattr("migrator.trackers.redmine.api.PAGE_SIZE", 1)
    original = FakeRedmine._listed

    def shrinking(self, request, name, items):
        return original(self, request, name, items[1:] if request.query["offset"] != "0" else items)

    monkeypatch.setattr(FakeRedmine, "_listed", shrinking)
    with pytest.raises(errors.ShortListingError, match="changed"):
        await source(fake.url).read("wiki", None)


# --- what can't be read


LISTS = {"wiki": "wiki/index", "news": "news", "versions": "versions", "files": "files"}


@pytest.mark.parametrize("status", [401, 403, 404, 406, 500])
@pytest.mark.parametrize("stream", LISTS)
async def test_list_that_a_project_refuses_is_one_failure_and_not_empty(fake, stream, status):
    _, files = seeded_beside(fake)
    path = f"projects/demo/{LISTS[stream]}.json"
    fake.answers_with[path] = web.Response(status=status)
    made = source(fake.url)
    page = await (made.read(stream, None) if status in {403, 404, 406} else asked_in_vain(made, stream))
    [broken] = [entity for entity in page.ask if entity.ref.id == path]
    with pytest.raises(errors.ItemFailedError, match=str(status)):
        await made.attachments_of(broken)
    del fake.answers_with[path]
    again = await made.attachments_of(broken)
    kinds = {"wiki": {"WikiPage"}, "news": {"News"}, "versions": {"Version"}, "files": {"Project", "Version"}}
    expected = [file for file in files if file.owner.kind in kinds[stream]]
    of_demo = {"wiki": 2, "news": 1, "versions": 2, "files": 1}[stream]
    assert len(again) == of_demo
    assert {(file.owner, file.name) for file in again} <= {(file.owner, file.name) for file in expected}


async def test_passing_fault_of_a_list_is_only_tried_again(fake):
    seeded_beside(fake)
    made = source(fake.url)
    fake.answers_with["projects/demo/wiki/index.json"] = web.Response(status=500)
    with pytest.raises(errors.RetriableError):
        await made.read("wiki", None)
    del fake.answers_with["projects/demo/wiki/index.json"]
    assert len((await made.read("wiki", None)).entities) == 2


async def test_list_of_another_server_is_not_reopened(fake):
    for path in ("projects/../users.json", "projects/a/b.json", "projects/x/news.json?key=1", "demo/../../x"):
        for kind in ("News", "Issue"):
            with pytest.raises(errors.GoneError):
                await source(fake.url).attachments_of(Entity(EntityRef(kind, path)))


async def test_no_list_of_projects_is_a_failure_where_issues_name_projects(fake):
    fake.issue("an issue")
    fake.answers_with["projects.json"] = web.Response(status=404)
    for stream in OTHER_STREAMS:
        with pytest.raises(errors.GoneError):
            await source(fake.url).read(stream, None)


async def test_no_list_of_projects_is_told_once_where_nothing_names_any(fake):
    fake.answers_with["projects.json"] = web.Response(status=404)
    fake.answers_with["issues.json"] = web.json_response({"issues": [{"id": 1, "attachments": []}], "total_count": 1})
    made = source(fake.url)
    pages = [await made.read(stream, None) for stream in OTHER_STREAMS]
    assert [len([told for told in page.warnings if "only issues are read" in told]) for page in pages] == [
        1,
        0,
        0,
        0,
        0,
    ]


async def test_key_that_dies_makes_no_list_empty(fake, monkeypatch):
    seeded_beside(fake)
    made = source(fake.url)
    await made.read("issues", None)
    monkeypatch.setattr("tests.trackers.fake_redmine.KEY", "another key")
    for stream in OTHER_STREAMS:
        with pytest.raises(errors.AuthError):
            await made.read(stream, None)


async def test_refusal_of_one_route_is_told_from_one_of_the_account(fake):
    seeded_beside(fake)
    ref = EntityRef("Version", "71")
    with pytest.raises(errors.AuthError):
        await source(fake.url, "wrong").attachments_of(Entity(ref))
    fake.answers_with["versions/71.json"] = web.Response(status=401)
    with pytest.raises(errors.RetriableError, match="other routes accept this account"):
        await source(fake.url).attachments_of(Entity(ref))


async def test_news_that_an_old_redmine_doesnt_show_is_a_failure_that_says_so(fake):
    seeded_beside(fake)
    number = fake.spaces[0].news[0]
    fake.answers_with[f"news/{number}.json"] = web.Response(status=401)
    with pytest.raises(errors.ForbiddenError, match=r"before 4\.1"):
        await source(fake.url).attachments_of(Entity(EntityRef("News", str(number))))


async def test_wiki_page_without_a_title_is_one_failure(fake):
    seeded_beside(fake)
    listed = {"wiki_pages": [{"title": "Start"}, {"title": ""}, 5]}
    fake.answers_with["projects/demo/wiki/index.json"] = web.json_response(listed)
    page = await source(fake.url).read("wiki", None)
    assert [entity.title for entity in page.entities] == ["Start"]
    assert ["item 2 of 3" in page.unread[0].reason, "item 3 of 3" in page.unread[1].reason] == [True, True]
    with pytest.raises(errors.UnexpectedBodyError):
        await source(fake.url).attachments_of(Entity(page.unread[0].ref))


# --- custom fields


async def test_account_without_admin_rights_is_told_which_fields_may_hold_files(fake):
    seeded_beside(fake)
    fake.admin = False
    made = source(fake.url)
    found = await crawl(made)
    assert not [file for file in found.attachments.values() if file.name.startswith("custom")]
    told = [sentence for _, _, page in found.steps for sentence in page.warnings]
    for name in ("Contract", "Build", "Charter"):
        assert len([sentence for sentence in told if name in sentence and "file_fields" in sentence]) == 1
    assert len([sentence for sentence in told if "administrators" in sentence]) == 1


async def test_fields_that_an_option_names_are_read_without_an_administrator(fake):
    seeded_beside(fake)
    fake.admin = False
    made = source(fake.url, options=Options(file_fields=("Contract", "3", "Notes", "Receipt")))
    found = (await crawl(made)).attachments.values()
    custom = {file.owner.kind for file in found if file.name.startswith("custom")}
    assert custom == {"Issue", "Project", "Version", "TimeEntry"}


async def test_file_with_a_lost_record_is_listed_by_its_number_and_not_gone(fake):
    """As Redmine answers while its storage is away: 404 for the file, and for its record."""
    seeded_beside(fake)
    for stored in fake.files.values():
        stored.readable = False
    made = source(fake.url)
    numbers = {values[field] for values in fake.values.values() for field in values if field != 2}
    found = (await crawl(made)).attachments
    assert numbers <= set(found)
    assert [await made.still_lists(found[number]) for number in numbers] == [True] * len(numbers)


async def test_broken_list_of_fields_is_one_failure_and_takes_no_issue_with_it(fake):
    seeded_beside(fake)
    fake.answers_with["custom_fields.json"] = web.Response(status=500)
    made = source(fake.url)
    page = await asked_in_vain(made, "issues")
    assert [file.name for file in page.attachments] == ["on the issue.txt"]
    [unread] = page.unread
    with pytest.raises(errors.RetriableError):
        await made.attachments_of(Entity(unread.ref))
    del fake.answers_with["custom_fields.json"]
    assert [file.name[:6] for file in await made.attachments_of(Entity(unread.ref))] == ["custom"]


@pytest.mark.parametrize("status", [403, 404])
async def test_refusal_to_an_administrator_is_not_blamed_on_the_account(fake, status):
    seeded_beside(fake)
    fake.answers_with["custom_fields.json"] = web.Response(status=status)
    made = source(fake.url)
    assert [one.ref.id for one in (await made.read("issues", None)).unread] == ["custom_fields.json"]
    with pytest.raises((errors.ForbiddenError, errors.GoneError)):
        await made.read("custom_fields", None)
    assert any("custom_fields.json" in sentence for sentence in await made.oddities())
    del fake.answers_with["custom_fields.json"]
    assert (await made.read("issues", None)).unread == ()


@pytest.mark.parametrize("path", ["news/1.json", "projects/demo/wiki/Start.json"])
async def test_fields_that_a_plugin_adds_to_others_do_no_harm(fake, path):
    seeded_beside(fake)
    told = {"attachments": [], "custom_fields": [{"id": 99, "name": "x", "value": "5"}]}
    fake.answers_with[path] = web.json_response({"news": told, "wiki_page": told})
    ref = EntityRef("News", "1") if path.startswith("news") else EntityRef("WikiPage", "demo/Start")
    assert await source(fake.url).attachments_of(Entity(ref)) == ()


async def test_custom_fields_without_possible_files_cost_no_request(fake):
    fake.issue("an issue")
    await source(fake.url).read("issues", None)
    assert "custom_fields.json" not in paths(fake)


# --- whether a file is still there


async def test_files_are_listed_until_they_are_taken_off(fake):
    seeded_beside(fake)
    made = source(fake.url)
    found = (await crawl(made)).attachments
    assert [await made.still_lists(file) for file in found.values()] == [True] * len(found)
    fake.values.clear()
    fake.files.clear()
    assert [await made.still_lists(file) for file in found.values()] == [False] * len(found)


async def test_lost_storage_is_not_taken_for_deleted_files(fake):
    seeded_beside(fake)
    made = source(fake.url)
    found = (await crawl(made)).attachments
    for number in found:
        fake.answers_with[f"attachments/download/{number}"] = web.Response(status=404)
        fake.answers_with[f"attachments/{number}.json"] = web.Response(status=404)
    for file in found.values():
        with pytest.raises(errors.GoneError):
            await fetch(made, file)
        assert await made.still_lists(file)


@pytest.mark.parametrize("kind", ADAPTER.capabilities.kinds)
async def test_missing_owner_proves_nothing_of_a_file(fake, kind):
    where = "demo/Nowhere" if kind == "WikiPage" else "4040"
    with pytest.raises(errors.GoneError):
        await source(fake.url).still_lists(Attachment("1", EntityRef(kind, where), "x"))


# --- what is odd


@pytest.mark.parametrize("call", ["check", "issues", *OTHER_STREAMS])
async def test_switched_off_api_is_called_that(fake, call):
    seeded_beside(fake)
    fake.rest = False
    made = source(fake.url)
    with pytest.raises(errors.AuthError, match=r"REST API of this Redmine is switched off .*Settings -> API"):
        await (made.check() if call == "check" else made.read(call, None))


async def test_refusal_with_a_reason_is_told_with_it(fake):
    refusal = web.json_response({"errors": ["You must change your password"]}, status=403)
    fake.answers_with["users/current.json"] = refusal
    with pytest.raises(errors.AuthError, match="change your password"):
        await source(fake.url).check()


async def test_oddities_are_told_in_words(fake):
    seeded_beside(fake)
    fake.admin = fake.tells_totals = False
    told = "\n".join(await source(fake.url).oddities())
    for words in ("total_count", "documents", "below", "forums", "shut", "administrators", "file_fields"):
        assert words in told


async def test_fields_of_documents_are_told_of_as_the_api_has_none(fake):
    seeded_beside(fake)
    made = source(fake.url)
    pages = await read_to_the_end(made, "custom_fields")
    for told in (await made.oddities(), pages[0].warnings):
        assert any("document" in sentence and "Scan" in sentence for sentence in told)


async def test_option_that_names_no_file_field_is_told_by_check_and_by_the_run(fake):
    seeded_beside(fake)
    made = source(fake.url, options=Options(file_fields=("Nope", "4711")))
    for told in (await made.oddities(), (await read_to_the_end(made, "custom_fields"))[0].warnings):
        assert any("file_fields" in sentence and "4711, Nope" in sentence for sentence in told)
    listed = (await made.api.get("custom_fields.json"))["custom_fields"]
    right = tuple(field["name"] for field in listed if field["field_format"] == "attachment")
    assert not any(
        "file_fields" in one for one in await source(fake.url, options=Options(file_fields=right)).oddities()
    )


async def test_healthy_redmine_has_nothing_odd(fake):
    assert await source(fake.url).oddities() == ()


async def test_account_that_sees_no_project_is_told_so(fake):
    fake.spaces = []
    assert any("sees no project" in sentence for sentence in await source(fake.url).oddities())


@pytest.mark.parametrize("path", ["projects.json", "issues.json", "custom_fields.json"])
@pytest.mark.parametrize("status", [403, 404, 500])
async def test_what_refuses_to_tell_is_odd_itself(fake, path, status):
    fake.issue("an issue")
    fake.answers_with[path] = web.Response(status=status)
    assert any(path in sentence for sentence in await source(fake.url).oddities())


async def test_many_projects_are_named_in_part(fake):
    fake.spaces = [Space(number, f"p{number}", modules=("documents",)) for number in range(1, 10)]
    [told] = await source(fake.url).oddities()
    assert "p5 and 4 more" in told


async def test_upload_to_another_kind_sends_nothing(fake):
    seeded_beside(fake)
    with pytest.raises(errors.RejectedError):
        await target(fake.url).upload(EntityRef("News", "1"), Draft("a", "", "", 1), Bytes(b"a"))
    assert fake.requests == []


async def test_target_is_read_for_issues_only(tmp_path):
    """For `map`: nothing else can get files, so nothing else may be proposed."""
    config = tmp_path / "c.toml"
    sections = '[{0}]\ntracker = "redmine"\nurl = "http://127.0.0.1:9"\n[{0}.auth]\napi_key = "k"\n'
    config.write_text("".join(map(sections.format, ("source", "target"))))
    found = read_configuration(config)
    assert wire_target_listing(found).tracker.capabilities.streams == ("issues",)
    assert set(wire_source(found).tracker.capabilities.streams) == {"issues", *OTHER_STREAMS}


# --- whole backups


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("projects.json", 404),
        ("projects/demo/wiki/index.json", 404),
        ("projects/demo/files.json", 403),
        ("projects/shut/news.json", 500),
        ("projects/demo/versions.json", 401),
        ("custom_fields.json", 500),
        ("custom_fields.json", 403),
        ("projects/demo/wiki/Start.json", 404),
    ],
)
async def test_run_with_one_broken_list_is_incomplete_and_calls_nothing_gone(fake, tmp_path, path, status):
    _, files = seeded_beside(fake)
    zero = {"unchanged": 0, "skipped": 0, "gone": 0, "failed": 0}
    first = await run_backup(None, tmp_path, source=source(fake.url))
    assert first["attachments"] == {**zero, "listed": len(files), "stored": len(files)}
    fake.answers_with[path] = web.Response(status=status)
    broken = await run_backup(None, tmp_path, source=source(fake.url))
    assert (broken["status"], broken["attachments"]["gone"]) == ("incomplete", 0)
    assert any(path in failure["reason"] for failure in broken["failures"])
    del fake.answers_with[path]
    again = await run_backup(None, tmp_path, source=source(fake.url))
    assert (again["status"], again["failures"]) == ("complete", [])
    assert again["attachments"] == {**zero, "listed": len(files), "stored": 0, "unchanged": len(files)}


async def test_run_says_what_it_could_not_read_as_the_api_has_no_list_of_it(fake, tmp_path):
    seeded_beside(fake)
    done = await run_backup(None, tmp_path, source=source(fake.url))
    assert done["status"] == "complete"
    told = "\n".join(done["warnings"])
    for words in ("documents", "below", "forums", "shut", "Scan"):
        assert words in told
