"""Squash TM keeps the port, whatever its server can do; all twelve kinds are found, and each of its traps is met."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shutil
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from migrator import errors
from migrator.layers.retry import RetryingSource, RetryingTarget
from migrator.layers.retry_policy import RetryPolicy
from migrator.layers.verify import VerifiedSource
from migrator.model import Attachment, Draft, Entity, EntityRef
from migrator.sandbox.errors import RefusedError
from migrator.sandbox.faults import Faults
from migrator.sandbox.squash.app import SquashSandbox
from migrator.sandbox.squash.reads import Reads
from migrator.sandbox.squash.records import Records
from migrator.sandbox.squash.tree import CALL_STEPS, Node
from migrator.sandbox.squash.tree import KINDS as OWNERS
from migrator.sandbox.squash.web import DEFAULT_WHITELIST, Pages
from migrator.sandbox.squash.writes import Writes
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
    nowhere,
    read_to_the_end,
    sha256,
)
from migrator.trackers import adapter
from migrator.trackers.memory import MemoryTracker
from migrator.trackers.squash import ADAPTER, Options, SquashSource, SquashTarget, unwrapped
from migrator.trackers.squash.hal import decode, items_in
from migrator.trackers.squash.parse import attachment_in, created_in
from migrator.trackers.squash.passing import passing_name
from migrator.trackers.squash.records import STREAMS
from migrator.trackers.squash.tree import KINDS, STEPS_PER_PAGE
from migrator.wire.auth import RequestToSign
from migrator.wire.client import HttpClient
from tests.support.attached import attach
from tests.support.opened import closed_later
from tests.support.parts import PATIENCE, no_wait, rows, run_backup, run_load

WORLD = World.generate(entities=70, seed=7, median_bytes=2_000, large_bytes=2_500_000)
SMALL = World.generate(entities=30, seed=3, median_bytes=500, large_bytes=0)
NO_PATIENCE = RetryPolicy(backoff=0, backoff_max=0)


def composed(
    world: World, *, pages=Pages, records=Records, reads=Reads, writes=Writes, **quirks: object
) -> SquashSandbox:
    """A server with handlers of its own."""
    made = SquashSandbox(world, **quirks)
    made.pages = pages(made, made.quirks)
    made.records = records(made, made.quirks, made.tree, made.lookup)
    made.reads = reads(made, made.quirks, made.tree, made.lookup, made.records, made.pages)
    made.writes = writes(made, made.quirks, made.lookup, made.records)
    return made


def client(sandbox: SquashSandbox, **auth: str) -> HttpClient:
    return closed_later(HttpClient(sandbox.url, ADAPTER.signer(auth or sandbox.credentials)))


def source(sandbox: SquashSandbox, options: Options | None = None, **auth: str) -> SquashSource:
    return SquashSource(client(sandbox, **auth), options or Options())


def target(sandbox: SquashSandbox, options: Options | None = None, **auth: str) -> SquashTarget:
    return SquashTarget(client(sandbox, **auth), options or Options())


def ref_of(sandbox: SquashSandbox, entity_id: int) -> EntityRef:
    return EntityRef(sandbox.kind_of(entity_id), str(sandbox.number_of(entity_id)))


def first(sandbox: SquashSandbox, kind: str) -> EntityRef:
    return EntityRef(kind, str(sandbox.tree.kinds[kind][0].number))


def entity_of(sandbox: SquashSandbox, ref: EntityRef) -> int:
    return sandbox.tree.nodes[ref.kind, int(ref.id)].entity_id


def told(sandbox: SquashSandbox) -> list[Expected]:
    """All files that a source should find."""
    world = sandbox.world
    return [Expected.of(ref_of(sandbox, f.entity_id), f.name, world.content(f)) for f in world.attachments]


def refs(sandbox: SquashSandbox) -> set[EntityRef]:
    return {ref_of(sandbox, entity.id) for entity in sandbox.world.entities}


def bound_source(sandbox: SquashSandbox, options: Options | None = None, **auth: str) -> BoundSource:
    return BoundSource(
        source(sandbox, options, **auth),
        lambda: source(sandbox, options, **auth),
        refs(sandbox),
        told(sandbox),
        gone=Attachment("99999", first(sandbox, "test-cases"), "x.txt"),
        missing=Entity(EntityRef("executions", "99999")),
        refused=lambda: source(sandbox, token="a.wrong.one"),
        unreachable=lambda: SquashSource(HttpClient(nowhere(), ADAPTER.signer({"token": "x"})), Options()),
        attach=lambda ref: attach(sandbox, entity_of(sandbox, ref)),
    )


class SourceBound(SourceContract):
    """Each subclass is another server."""

    world = SMALL
    options = Options()
    oddities: dict[str, object] = {}  # noqa: RUF012
    auth: dict[str, str] = {}  # noqa: RUF012

    @pytest.fixture
    async def bound(self):
        async with SquashSandbox(self.world, **self.oddities) as sandbox:
            bound = bound_source(sandbox, self.options, **self.auth)
            yield bound
            await bound.source.close()


class TestSource(SourceBound):
    world = WORLD


class TestSourceWithDates(SourceBound):
    world = WORLD
    options = Options(change_dates=True)


class TestSourceInSmallPages(SourceBound):
    options = Options(page_size=2)


class TestSourceWhereEachKindCountsItsIdsByItself(SourceBound):
    oddities = {"own_numbers": True}  # noqa: RUF012


class TestSourceWithoutAContextPath(SourceBound):
    oddities = {"base_path": ""}  # noqa: RUF012


class TestSourceThatGivesLessThanAskedFor(SourceBound):
    oddities = {"size_cap": 3}  # noqa: RUF012


class TestSourceThatEmbedsFilesInLists(SourceBound):
    oddities = {"embeds_files": ("test-steps", "execution-steps", "campaigns"), "full_files": True}  # noqa: RUF012


class TestSourceWhosePlansTellNoExecutions(SourceBound):
    oddities = {"embeds_executions": False}  # noqa: RUF012


class TestSourceOfVersion14WhosePlansTellNoExecutions(SourceBound):
    oddities = {"embeds_executions": False, "item_path": "test-plan-items"}  # noqa: RUF012


class TestSourceThatTellsFilesInTheirOwnListOnly(SourceBound):
    options = Options(page_size=3)
    oddities = {"untold": OWNERS, "lists_files": True}  # noqa: RUF012


class TestSourceByBasic(SourceBound):
    auth = {"username": SquashSandbox.user, "password": SquashSandbox.password}  # noqa: RUF012


def bound_target(sandbox: SquashSandbox, kind: str = "", wrap=lambda target: target) -> BoundTarget:
    owners = Counter(file.owner for file in told(sandbox) if kind in {"", file.owner.kind})
    owner = owners.most_common(1)[0][0]

    async def files_of(ref: EntityRef):
        return [
            (f.name, f.size, f.sha256, f.description or "") for f in sandbox.state.files_of(entity_of(sandbox, ref))
        ]

    return BoundTarget(
        wrap(target(sandbox)),
        lambda: wrap(target(sandbox)),
        owner,
        EntityRef(owner.kind, "99999"),
        files_of,
        gone=Attachment("99999", owner, "x.txt"),
        refused=lambda: wrap(target(sandbox, token="a.wrong.one")),
        unreachable=lambda: wrap(SquashTarget(HttpClient(nowhere(), ADAPTER.signer({"token": "x"})), Options())),
    )


class TestTarget(TargetContract):
    """A server that reads names as 2.x did."""

    @pytest.fixture
    async def bound(self):
        async with SquashSandbox(SMALL) as sandbox:
            bound = bound_target(sandbox)
            yield bound
            await bound.target.close()


class TestTargetOfToday(TargetContract):
    @pytest.fixture
    async def bound(self):
        async with SquashSandbox(SMALL, base_path="", own_numbers=True, path_names=False) as sandbox:
            bound = bound_target(sandbox, wrap=lambda target: RetryingTarget(target, NO_PATIENCE))
            yield bound
            await bound.target.close()


@asynccontextmanager
async def running(world: World = SMALL, **oddities: object):
    async with SquashSandbox(world, **oddities) as sandbox:
        yield sandbox, client(sandbox)


# --- reading


def test_squash_is_in_the_registry():
    assert adapter("squash") is ADAPTER
    assert frozenset(OWNERS) == KINDS


async def test_all_twelve_kinds_are_found_with_a_file_on_each():
    async with running() as (sandbox, _):
        goal, made = target(sandbox), source(sandbox)
        for kind in OWNERS:
            await goal.upload(first(sandbox, kind), Draft(f"{kind}.txt", "", "", 1), Bytes(b"x"))
        done = await crawl(made)
    assert {ref.kind for ref in done.entities} == set(OWNERS)
    found = {file.name: file.owner for file in done.attachments.values()}
    assert all(found[f"{kind}.txt"] == first(sandbox, kind) for kind in OWNERS)


async def test_every_version_of_a_requirement_is_found_and_never_the_requirement():
    async with running(WORLD) as (sandbox, _):
        made = source(sandbox)
        done = await crawl(made)
    versions = {int(ref.id) for ref in done.entities if ref.kind == "requirement-versions"}
    wanted = {version.number for found in sandbox.tree.requirements.values() for version in found.versions}
    assert versions == wanted
    assert len(wanted) > len(sandbox.tree.requirements)


async def test_calls_and_keywords_are_not_taken_for_steps_with_files():
    async with running() as (sandbox, _):
        made = source(sandbox)
        done = await crawl(made)
    assert not [ref for ref in done.entities if int(ref.id) > CALL_STEPS]


@pytest.mark.parametrize("kind", ["campaigns", "requirement-folders"])
async def test_deletion_during_a_listing_hides_nothing(kind):
    """Whatever is deleted after whichever step: all that stays is found."""
    world = World.generate(entities=90, attachments=0)
    for victim in (0, 1, 2):
        for at in range(0, 12, 2):
            async with running(world) as (sandbox, _):
                made, seen = source(sandbox, Options(page_size=2)), set()
                cursor, steps = None, 0
                while True:
                    page = await made.read(kind, cursor)
                    seen |= {entity.ref for entity in page.entities}
                    if steps == at:
                        sandbox.tree.removed.add(sandbox.tree.kinds[kind][victim].key)
                    steps, cursor = steps + 1, page.next
                    if cursor is None:
                        break
                left = {
                    EntityRef(*map(str, node.key))
                    for node in sandbox.tree.kinds[kind]
                    if not sandbox.tree.is_removed(node)
                }
                assert left <= seen


async def test_step_deleted_during_an_unsorted_listing_hides_no_other():
    world = World.generate(entities=200, attachments=0)
    for at in range(1, 8):
        async with running(world) as (sandbox, _):
            steps, case = sandbox.tree.kinds["test-steps"], sandbox.tree.kinds["test-cases"][0]
            sandbox.tree.attach(case, steps[::-1])
            made, seen = source(sandbox, Options(page_size=3)), set()
            cursor, taken = None, 0
            while True:
                page = await made.read("test-cases", cursor)
                seen |= {entity.ref.id for entity in page.entities if entity.ref.kind == "test-steps"}
                if taken == at:
                    sandbox.tree.removed.add(steps[-2].key)
                taken, cursor = taken + 1, page.next
                if cursor is None:
                    break
        assert {str(step.number) for step in steps if step is not steps[-2]} <= seen


async def test_server_that_gives_always_the_same_page_is_not_believed():
    class Stuck(Pages):
        def page(self, request, items, *, sorts=True):
            query = {**request.query, "page": "0"}
            return super().page(request.clone(rel_url=request.rel_url.with_query(query)), items, sorts=sorts)

    async with composed(SMALL, pages=Stuck) as sandbox:
        made = source(sandbox, Options(page_size=2))
        with pytest.raises(errors.UnexpectedBodyError):
            await crawl(made)


async def test_what_may_not_be_read_is_named_and_the_rest_is_read():
    async with running(WORLD) as (sandbox, _):
        barred = [first(sandbox, kind) for kind in ("test-cases", "iterations", "requirement-versions")]
        barred.insert(0, EntityRef("executions", str(sandbox.tree.kinds["executions"][-1].number)))
        sandbox.faults.forbidden_entities = {entity_of(sandbox, ref) for ref in barred}
        made, refused = source(sandbox), []
        for stream in made.capabilities.streams:
            cursor = None
            while True:
                page = await made.read(stream, cursor)
                for entity in page.ask:
                    try:
                        await made.attachments_of(entity)
                    except errors.ForbiddenError:
                        refused.append(entity.ref)
                if (cursor := page.next) is None:
                    break
    version = barred.pop()
    [requirement] = [
        number
        for number, found in sandbox.tree.requirements.items()
        if int(version.id) in {node.number for node in found.versions}
    ]
    assert set(barred) <= set(refused)
    assert {version, EntityRef("requirement-versions", f"requirements/{requirement}")} & set(refused)
    assert {ref.kind for ref in refused} <= KINDS


async def test_refused_listing_is_named_as_an_entity_and_stays_refused():
    class Closed(Reads):
        closed = True

        async def test_plan(self, request):
            if self.closed:
                raise RefusedError(403, "Access is denied")
            return await super().test_plan(request)

    async with composed(SMALL, reads=Closed) as sandbox:
        made = source(sandbox)
        asked_for = await asked_by(made, "campaigns")
        path = f"iterations/{first(sandbox, 'iterations').id}/test-plan"
        [entity] = [entity for entity in asked_for if entity.ref.id == path]
        assert entity.ref.kind == "executions"
        with pytest.raises(errors.ForbiddenError):
            await made.attachments_of(entity)
        sandbox.reads.closed = False
        iteration = sandbox.tree.nodes["iterations", int(first(sandbox, "iterations").id)]
        below = {file.name for file in told(sandbox) if is_below(sandbox, file.owner, iteration)}
        assert below
        assert {file.name for file in await made.attachments_of(entity)} == below


def is_below(sandbox: SquashSandbox, ref: EntityRef, iteration: Node) -> bool:
    """Whether this is an execution of the iteration, or a step of one."""
    node = sandbox.tree.nodes[ref.kind, int(ref.id)]
    return ref.kind in {"executions", "execution-steps"} and iteration in (node.parent, node.parent.parent)


async def test_closed_path_is_named_until_it_opens_and_its_files_come_then(tmp_path):
    class Closed(Reads):
        closed = True

        async def test_plan(self, request):
            if self.closed:
                raise RefusedError(403, "Access is denied")
            return await super().test_plan(request)

    async with composed(SMALL, reads=Closed) as sandbox:
        summary = await run_backup(None, tmp_path, source=source(sandbox))
        assert summary["status"] == "incomplete"
        assert {failure["kind"] for failure in summary["failures"]} == {"executions"}
        assert (await run_backup(None, tmp_path, source=source(sandbox)))["status"] == "incomplete"
        sandbox.reads.closed = False
        assert (await run_backup(None, tmp_path, source=source(sandbox)))["status"] == "complete"
        kept = rows(tmp_path, "SELECT kind, entity_id, name, sha256 FROM attachments WHERE status = 'stored'")
        assert Counter(kept) == Counter((f.owner.kind, f.owner.id, f.name, f.sha256) for f in told(sandbox))


async def test_listings_that_always_fail_are_recorded_and_the_rest_is_backed_up(tmp_path):
    class Broken(Reads):
        async def test_plan(self, request):
            raise RefusedError(500, "could not extract ResultSet")

    async with composed(WORLD, reads=Broken) as sandbox:
        patient = RetryingSource(source(sandbox), RetryPolicy(retries=8, sleep=no_wait))
        summary = await run_backup(None, tmp_path, source=patient)
        plans = {f"iterations/{node.number}/test-plan" for node in sandbox.tree.kinds["iterations"]}
        files = told(sandbox)
    assert len(plans) > 1
    assert summary["status"] == "incomplete"
    assert {(failure["kind"], failure["entity"]) for failure in summary["failures"]} == {
        ("executions", path) for path in plans
    }
    assert all("could not extract ResultSet" in failure["reason"] for failure in summary["failures"])
    kept = rows(tmp_path, "SELECT kind, entity_id, name, sha256 FROM attachments WHERE status = 'stored'")
    left = [file for file in files if file.owner.kind not in {"executions", "execution-steps"}]
    assert Counter(kept) == Counter((file.owner.kind, file.owner.id, file.name, file.sha256) for file in left)


async def test_server_that_fails_altogether_is_no_closed_way():
    class Down(SquashSandbox):
        down = False

        def answering(self, handler):
            given = super().answering(handler)

            async def answer(request):
                self.down = self.down or request.path.endswith("/test-plan")
                return web.json_response({}, status=500) if self.down else await given(request)

            return answer

    async with Down(SMALL) as sandbox:
        patient = RetryingSource(source(sandbox), RetryPolicy(retries=20, sleep=no_wait))
        with pytest.raises(errors.RetriableError):
            await asked_by(patient, "campaigns")


async def test_listing_that_is_not_there_is_not_taken_for_an_empty_one():
    class Lacking(SquashSandbox):
        def handlers(self):
            return [act for act in super().handlers() if act[1] != "/campaign-folders"]

    async with Lacking(SMALL) as sandbox:
        made = source(sandbox)
        with pytest.raises(errors.GoneError):
            await made.read("campaign-folders", None)


async def closed_ways(sandbox: SquashSandbox) -> list[EntityRef]:
    """What is asked for in place of a way that is closed."""
    done = await asked_by(source(sandbox), "campaigns")
    return [entity.ref for entity in done if "/" in entity.ref.id]


async def asked_by(made: SquashSource, stream: str) -> list[Entity]:
    found, cursor = [], None
    while True:
        page = await made.read(stream, cursor)
        found += page.ask
        if (cursor := page.next) is None:
            return found


async def test_path_unknown_to_the_server_is_named_and_not_taken_for_a_deletion():
    class Lacking(SquashSandbox):
        def handlers(self):
            return [act for act in super().handlers() if not act[1].endswith("/test-suites")]

    async with Lacking(SMALL) as sandbox:
        iterations = [node.number for node in sandbox.tree.kinds["iterations"]]
        closed = await closed_ways(sandbox)
        assert closed == [EntityRef("test-suites", f"iterations/{number}/test-suites") for number in iterations]
        with pytest.raises(errors.NotExposedError):
            await source(sandbox).attachments_of(Entity(closed[0]))


@pytest.mark.parametrize("item_path", ["plan-items", "iteration-test-plan-items"])
async def test_executions_of_a_plan_by_a_third_path_are_named_as_not_read(item_path):
    async with running(embeds_executions=False, item_path=item_path) as (sandbox, _):
        closed = await closed_ways(sandbox)
        assert bool(closed) == (item_path == "plan-items")
        for ref in closed:
            assert ref.kind == "executions"
            with pytest.raises(errors.NotExposedError):
                await source(sandbox).attachments_of(Entity(ref))


FAMILIES = {
    "test-cases": ("test-cases", "test-cases/{}/steps"),
    "campaigns": ("campaigns", "campaigns/{}/iterations"),
    "requirements": ("requirements", "requirements/{}"),
    "iterations": ("campaigns", "iterations/{}/test-suites"),
    "executions": ("campaigns", "executions/{}/execution-steps"),
}
"""Things below which something is listed: by which stream they are found, and what is asked for below each."""


def numbers_of(sandbox: SquashSandbox, family: str) -> list[int]:
    if family == "requirements":
        return [one.number for one in sandbox.tree.requirements.values()]
    nodes = sandbox.tree.kinds[family]
    return [node.number for node in nodes if family != "test-cases" or sandbox.tree.type_of(node) == "test-case"]


def remove(sandbox: SquashSandbox, family: str, number: int) -> None:
    if family == "requirements":
        sandbox.tree.removed |= {version.key for version in sandbox.tree.requirements[number].versions}
    else:
        sandbox.tree.removed.add((family, number))


@pytest.mark.parametrize("family", FAMILIES)
async def test_entity_deleted_before_its_children_are_read_is_no_closed_path(family):
    """Another of its kind answers, so the route is there and the deletion is believed."""
    stream, path = FAMILIES[family]
    async with running(WORLD) as (sandbox, _):
        number = numbers_of(sandbox, family)[0]
        remove(sandbox, family, number)
        step = path.format(number)
        page = await source(sandbox).read(stream, json.dumps([[step, 0, 100, 0, int(family != "test-cases")]]))
        assert (page.entities, page.ask, page.next) == ((), (), None)


@pytest.mark.parametrize("family", FAMILIES)
async def test_entity_of_a_kind_that_answers_404_is_a_failure_and_not_empty(family, tmp_path):
    """A record and all that is below it answer 404, and so does every other of its kind: that may be the route."""

    class Lacking(SquashSandbox):
        def handlers(self):
            ways = (f"/{family}/{{", f"/high-level-{family}/")
            return [act for act in super().handlers() if not act[1].startswith(ways)]

    stream, path = FAMILIES[family]
    async with Lacking(WORLD) as sandbox:
        asked_for = [entity.ref for entity in await asked_by(source(sandbox), stream)]
        closed = {ref.id for ref in asked_for if "/" in ref.id}
        assert {path.format(number) for number in numbers_of(sandbox, family)} <= closed
        for ref in asked_for:
            if "/" in ref.id:
                with pytest.raises(errors.NotExposedError):
                    await source(sandbox).attachments_of(Entity(ref))


async def test_all_of_a_kind_deleted_at_once_is_a_failure_of_what_is_below_each():
    """Nothing is left that could show that the route is there; the next run, which lists them no more, is whole."""
    async with running() as (sandbox, _):
        made, steps = source(sandbox), {f"test-cases/{number}/steps" for number in numbers_of(sandbox, "test-cases")}
        page = await made.read("test-cases", None)
        sandbox.tree.removed |= {node.key for node in sandbox.tree.kinds["test-cases"]}
        page = await made.read("test-cases", page.next)
        assert {entity.ref.id for entity in page.ask} == steps
        with pytest.raises(errors.NotExposedError):
            await made.attachments_of(page.ask[0])


async def test_closed_path_is_settled_when_its_owner_was_deleted_since():
    async with running(WORLD) as (sandbox, _):
        number, *_ = numbers_of(sandbox, "campaigns")
        remove(sandbox, "campaigns", number)
        assert (
            await source(sandbox).attachments_of(Entity(EntityRef("iterations", f"campaigns/{number}/iterations")))
            == ()
        )


async def test_projects_for_administrators_only_are_refused_or_skipped_by_option():
    async with running(admin=False) as (sandbox, _):
        made, skipping = source(sandbox), source(sandbox, Options(project_files="skip"))
        [project, *_] = (await made.read("projects", None)).ask
        with pytest.raises(errors.ForbiddenError):
            await made.attachments_of(project)
        page = await skipping.read("projects", None)
        assert page.ask == ()
        assert project.ref in {entity.ref for entity in page.entities}


async def test_owner_that_tells_nothing_of_files_is_named_or_ignored_by_option():
    async with running(untold=("requirement-folders",)) as (sandbox, _):
        entity = Entity(first(sandbox, "requirement-folders"))
        made, ignoring = source(sandbox), source(sandbox, Options(untold="ignore"))
        with pytest.raises(errors.NotExposedError, match="show the files of requirement-folder"):
            await made.attachments_of(entity)
        assert await ignoring.attachments_of(entity) == ()


@pytest.mark.parametrize("status", [400, 403, 404, 405])
async def test_files_are_as_their_owner_lists_them_where_records_are_unreadable(status):
    """The download decides what is there; the list of the owner says so as well."""

    class Without(Reads):
        async def file(self, request):
            raise RefusedError(status, "No such path")

    async with composed(SMALL, reads=Without) as sandbox:
        made = source(sandbox)
        files = list((await crawl(made)).attachments.values())
        assert Counter((file.owner, file.name) for file in files) == Counter((f.owner, f.name) for f in told(sandbox))
        assert {file.size for file in files} == {None}
        for file in files[:5]:
            bucket = MemorySink()
            await made.download(file, bucket)
            assert sha256(bytes(bucket.content)) in {f.sha256 for f in told(sandbox)}
            assert await made.still_lists(file)


@pytest.mark.parametrize("fault", [401, 500, "page", "another"])
@pytest.mark.parametrize("few", [True, False])
async def test_records_that_never_make_sense_cost_no_file(fault, few):
    """Neither those of the owner's other files, nor the file itself, which the owner's record tells of."""

    class Broken(Reads):
        async def file(self, request):
            number = int(request.match_info["id"])
            self.asked[number] += 1
            if few and number % 4:
                return await super().file(request)
            if fault == "page":
                return web.Response(text="<html><title>Oops</title></html>", content_type="text/html")
            if fault == "another":
                return web.json_response({"_type": "attachment", "id": number + 1, "name": "x", "file_type": "y"})
            raise RefusedError(fault, "no")

    async with composed(SMALL, reads=Broken) as sandbox:
        sandbox.reads.asked = Counter()
        patient = RetryingSource(source(sandbox), RetryPolicy(retries=3, sleep=no_wait))
        files = list((await crawl(patient)).attachments.values())
        assert Counter((file.owner, file.name) for file in files) == Counter((f.owner, f.name) for f in told(sandbox))
        assert {file.size is None for file in files} == ({True, False} if few else {True})
        assert max(sandbox.reads.asked.values()) == 3
        if not few:
            assert sum(count > 1 for count in sandbox.reads.asked.values()) < len(sandbox.reads.asked)
            [words] = await patient.oddities()
            assert "neither size nor date" in words


async def test_file_deleted_while_its_owner_is_read_is_not_listed_the_next_time():
    class Racing(Reads):
        async def file(self, request):
            self._state.delete(victim)
            return await super().file(request)

    async with composed(SMALL, reads=Racing) as sandbox:
        owner = Counter(file.owner for file in told(sandbox)).most_common(1)[0][0]
        files = sandbox.state.files_of(entity_of(sandbox, owner))
        victim = files[-1].id
        made = source(sandbox)
        found = await made.attachments_of(Entity(owner))
        assert [file.id for file in found] == sorted((str(file.id) for file in files), key=int)
        assert [file.id for file in found if not await made.still_lists(file)] == [str(victim)]
        with pytest.raises(errors.GoneError):
            await made.download(next(file for file in found if file.id == str(victim)), MemorySink())


async def test_what_a_failed_try_got_is_remembered_for_a_few_owners_only(monkeypatch):
    monkeypatch.setattr("migrator.trackers.squash.client.MAX_PARTIAL_OWNERS", 2)

    class Broken(Reads):
        async def file(self, request):
            raise RefusedError(500, "later")

    async with composed(SMALL, reads=Broken) as sandbox:
        made = source(sandbox)
        for owner in {file.owner for file in told(sandbox)}:
            with pytest.raises(errors.RetriableError):
                await made.attachments_of(Entity(owner))
        assert len(made._partial) == 2


async def test_record_of_another_file_is_not_taken_for_that_of_a_file():
    class Mixing(Records):
        def file(self, file, *, whole):
            found = super().file(file, whole=whole)
            return {**found, "id": file.id + 1} if whole else found

    async with composed(SMALL, records=Mixing) as sandbox:
        with pytest.raises(errors.UnexpectedBodyError, match="was asked for"):
            await source(sandbox).attachments_of(Entity(told(sandbox)[0].owner))


@pytest.mark.parametrize("old", [True, False])
async def test_dates_are_told_alike_by_old_and_new_servers(old):
    async with running(old_dates=old) as (sandbox, _):
        file = sandbox.world.attachments[0]
        made = source(sandbox)
        found = await made.attachments_of(Entity(ref_of(sandbox, file.entity_id)))
    assert next(f for f in found if f.id == str(file.id)).created_at == file.created_at.isoformat()


async def test_all_files_are_backed_up_through_every_fault():
    faults = Faults(5, error_500=0.1, dropped=0.05, truncated=0.05, wrong_size=0.1, retry_after=0)
    async with SquashSandbox(SMALL, faults) as sandbox:
        made = RetryingSource(VerifiedSource(source(sandbox)), NO_PATIENCE)
        done = await crawl(made)
        got = Counter()
        for file in done.attachments.values():
            bucket = MemorySink()
            await made.download(file, bucket)
            got[Expected(file.owner, file.name, len(bucket.content), bucket.sha256)] += 1
        assert set(sandbox.faults.injected) == {"error_500", "dropped", "truncated", "wrong_size"}
    assert got == Counter(told(sandbox))


async def test_step_of_a_crawl_is_a_few_small_requests():
    async with running(WORLD) as (sandbox, _):
        made = source(sandbox, Options(page_size=5))
        cursor, most = None, 0
        while True:
            before = sandbox.requests.total()
            page = await made.read("campaigns", cursor)
            most = max(most, sandbox.requests.total() - before)
            if (cursor := page.next) is None:
                break
    assert most <= 2 * STEPS_PER_PAGE


async def test_unreadable_item_is_named_with_its_place_and_the_rest_is_read(tmp_path):
    class Odd(Pages):
        def page(self, request, items, *, sorts=True):
            if "/campaigns" in request.path and request.path.endswith("/iterations"):
                items = [*items, ("iterations", 10**7, {"name": "no id"})]
            if request.path.endswith("/campaigns"):
                items = [("campaigns", 0, {"id": "x"}), *items]
            return super().page(request, items, sorts=sorts)

    async with composed(SMALL, pages=Odd) as sandbox:
        made, unread, found = source(sandbox), [], set()
        for stream in made.capabilities.streams:
            pages = await read_to_the_end(made, stream)
            unread += [one for page in pages for one in page.unread]
            found |= {entity.ref for page in pages for entity in page.entities}
        campaigns = numbers_of(sandbox, "campaigns")
        assert Counter((one.ref.id, one.reason) for one in unread) == {
            ("campaigns", "GET campaigns: item 0 of page 0 has no id"): 1,
            **{
                (
                    f"campaigns/{number}/iterations",
                    f"GET campaigns/{number}/iterations: item {len(children(sandbox, number))} of page 0 has no id",
                ): 1
                for number in campaigns
            },
        }
        assert refs(sandbox) <= found
        with pytest.raises(errors.NotExposedError, match="has no id"):
            await made.attachments_of(Entity(unread[-1].ref))


def children(sandbox: SquashSandbox, campaign: int) -> list[Node]:
    return list(sandbox.tree.children(sandbox.tree.nodes["campaigns", campaign], "iterations"))


async def test_files_listed_by_their_owner_short_of_their_number_are_no_list():
    class Short(Reads):
        def files(self, kind):
            whole = super().files(kind)

            async def answer(request):
                told = json.loads((await whole(request)).text)
                told["_embedded"]["attachments"].pop()
                return web.json_response(told)

            return answer

    async with composed(SMALL, reads=Short, untold=OWNERS, lists_files=True) as sandbox:
        owner = Counter(file.owner for file in told(sandbox)).most_common(1)[0][0]
        with pytest.raises(errors.ShortListingError):
            await source(sandbox).attachments_of(Entity(owner))


@pytest.mark.parametrize("way", ["campaign-folders", "test-cases/{}/steps"])
async def test_page_that_is_short_or_empty_though_there_is_more_is_a_failure(way):
    class Short(Pages):
        def page(self, request, items, *, sorts=True):
            answer = super().page(request, items, sorts=sorts)
            if request.path.endswith(way.split("{}")[-1]):
                told = json.loads(answer.text)
                return web.json_response({key: value for key, value in told.items() if key != "_embedded"})
            return answer

    async with composed(SMALL, pages=Short) as sandbox:
        patient = RetryingSource(source(sandbox), RetryPolicy(retries=8, sleep=no_wait))
        stream = way.split("/")[0]
        if "/" not in way:
            with pytest.raises(errors.ShortListingError):
                await read_to_the_end(patient, stream)
        else:
            asked_for = await asked_by(patient, stream)
            closed = {entity.ref.id for entity in asked_for if "/" in entity.ref.id}
            assert closed == {way.format(number) for number in numbers_of(sandbox, "test-cases")}


@pytest.mark.parametrize("way", ["campaign-folders", "steps"])
async def test_page_that_stays_short_of_its_total_fails_and_its_items_are_kept(way, tmp_path):
    class Counting(Pages):
        def page(self, request, items, *, sorts=True):
            told = json.loads(super().page(request, items, sorts=sorts).text)
            if request.path.endswith(way):
                told["page"]["totalElements"] += 1
            return web.json_response(told)

    async with composed(SMALL, pages=Counting) as sandbox:
        summary = await run_backup(None, tmp_path, source=source(sandbox))
        assert summary["status"] == "incomplete"
        assert summary["attachments"]["stored"] == len(told(sandbox))
        assert all(way in one["reason"] and "items, of" in one["reason"] for one in summary["failures"])
        odd = await source(sandbox).oddities()
        assert ["incomplete" in words for words in odd] == ([True] if way == "campaign-folders" else [])


async def test_requirement_without_versions_fails_but_not_without_a_current_one():
    class Odd(SquashSandbox):
        def answering(self, handler):
            given = super().answering(handler)

            async def answer(request):
                made = await given(request)
                if "/requirements/" not in request.path or made.status != 200:
                    return made
                return web.json_response({**json.loads(made.text), **self.change})

            return answer

    async with Odd(SMALL) as sandbox:
        sandbox.change = {"current_version": None}
        whole = await crawl(source(sandbox))
        assert whole.entities == refs(sandbox)
        sandbox.change = {"current_version": None, "versions": []}
        with pytest.raises(errors.UnexpectedBodyError, match="no version"):
            await read_to_the_end(source(sandbox), "requirements")


async def test_executions_that_are_null_are_asked_for():
    class Odd(Pages):
        def page(self, request, items, *, sorts=True):
            told = json.loads(super().page(request, items, sorts=sorts).text)
            for one in (item for group in told.get("_embedded", {}).values() for item in group):
                if "executions" in one:
                    one["executions"] = None
            return web.json_response(told)

    async with composed(SMALL, pages=Odd) as sandbox:
        assert (await crawl(source(sandbox))).entities == refs(sandbox)


async def test_list_that_tells_no_files_of_anything_is_not_believed():
    class Mute(Records):
        def node(self, node, *, whole, fields=""):
            found = super().node(node, whole=whole, fields=fields)
            return found if whole else {**found, "attachments": []}

    async with composed(SMALL, records=Mute) as sandbox:
        done = await crawl(source(sandbox))
        assert Counter((f.owner, f.name) for f in done.attachments.values()) == Counter(
            (f.owner, f.name) for f in told(sandbox)
        )


# --- logging in


@pytest.mark.parametrize("status", [403, 404, 500])
@pytest.mark.parametrize("missing", [["projects"], ["projects", "requirement-folders", "requirements"]])
async def test_any_list_that_answers_proves_that_the_api_is_there(status, missing):
    async with lacking(missing, status) as sandbox:
        assert "visible to this account" in await source(sandbox).check()
        assert "visible to this account" in await target(sandbox).check()
        told_odd = await source(sandbox).oddities()
        assert [words.split()[0] for words in told_odd] == missing


@pytest.mark.parametrize("status", [403, 404, 405, 500])
@pytest.mark.parametrize("stream", STREAMS)
async def test_list_that_is_not_to_be_had_is_a_failure_and_the_others_are_read(stream, status):
    async with lacking([stream], status) as sandbox:
        made = RetryingSource(source(sandbox), RetryPolicy(retries=8, sleep=no_wait))
        failed, found = [], set()
        for one in STREAMS:
            try:
                pages = await read_to_the_end(made, one)
            except errors.ItemFailedError:
                failed.append(one)
                continue
            found |= {entity.ref for page in pages for entity in page.entities}
            failed += [one for page in pages for entity in page.ask if entity.ref.id == stream]
        assert failed == [stream]
        assert {ref.kind for ref in refs(sandbox) - found} <= BELOW_LISTS[stream]


BELOW_LISTS = {
    "projects": {"projects"},
    "requirement-folders": {"requirement-folders"},
    "requirements": {"requirement-versions"},
    "test-case-folders": {"test-case-folders"},
    "test-cases": {"test-cases", "test-steps"},
    "campaign-folders": {"campaign-folders"},
    "campaigns": {"campaigns", "iterations", "test-suites", "executions", "execution-steps"},
}


def lacking(streams: list[str], status: int) -> SquashSandbox:
    """A server without some of its lists."""

    class Lacking(SquashSandbox):
        def answering(self, handler):
            answer = super().answering(handler)

            async def perhaps(request):
                refused = request.method == "GET" and request.path.rpartition("/")[2] in streams
                return web.json_response({"message": "no"}, status=status) if refused else await answer(request)

            return perhaps

    return Lacking(SMALL)


async def test_server_with_no_list_at_all_is_none():
    for status, error in (
        (404, errors.TrackerUnreachableError),
        (403, errors.ForbiddenError),
        (500, errors.RetriableError),
    ):
        async with lacking(list(STREAMS), status) as sandbox:
            with pytest.raises(error):
                await source(sandbox).check()


async def test_server_that_asks_for_patience_is_not_asked_for_every_list():
    async with lacking(list(STREAMS), 503) as sandbox:
        with pytest.raises(errors.ThrottledError):
            await source(sandbox).check()
        assert sum(sandbox.requests.values()) <= 2


async def test_address_without_the_api_is_told_with_what_is_there():
    class Elsewhere(SquashSandbox):
        def answering(self, handler):
            async def answer(request):
                return web.Response(text="<html><title>Welcome</title></html>", content_type="text/html")

            return answer

    async with Elsewhere(SMALL) as sandbox:
        with pytest.raises(errors.TrackerUnreachableError, match=r'"Welcome".*end with /squash'):
            await source(sandbox).check()


async def test_files_without_records_of_their_own_are_an_oddity():
    class Without(Reads):
        async def file(self, request):
            raise RefusedError(404, "No such path")

    async with composed(SMALL, reads=Without) as sandbox:
        [words] = await target(sandbox).oddities()
        assert "neither size nor date" in words


async def test_oddities_are_told_with_what_they_mean():
    async with running(size_cap=7) as (sandbox, _):
        told_odd = await source(sandbox).oddities()
        assert len(told_odd) == len(STREAMS)
        assert all("a page holds 7 items at most" in words for words in told_odd)
        assert await source(sandbox, Options(page_size=5)).oddities() == ()
        sandbox.tree.kinds["projects"].clear()
        [words] = await source(sandbox, Options(page_size=5)).oddities()
        assert "no project can be seen" in words


@pytest.mark.parametrize("wrapped", [True, False])
async def test_token_is_taken_as_it_is_or_unwrapped_once(wrapped):
    async with running(basic_allowed=False) as (sandbox, _):
        made = source(sandbox, token=sandbox.wrapped_token if wrapped else sandbox.token)
        assert "projects visible to this account: 2" in await made.check()


@pytest.mark.parametrize("token", ["", "a", "no dots", "a.b", "ünïcode", "YWJj", "Zm9v_-8", "YQouYi5j"])
def test_what_is_no_wrapped_token_stays_as_it_is(token):
    assert unwrapped(token) == token


@given(st.text(max_size=40))
def test_unwrapping_takes_anything(token):
    assert isinstance(unwrapped(token), str)


@given(st.lists(st.text("abcXYZ019_-", min_size=1, max_size=12), min_size=3, max_size=3).map(".".join), st.booleans())
def test_every_wrapped_token_is_unwrapped(token, padded):
    wrapped = base64.b64encode(token.encode()).decode()
    assert unwrapped(wrapped if padded else wrapped.rstrip("=")) == token
    assert unwrapped(token) == token


async def test_password_beyond_ascii_goes_out_as_the_server_reads_it():
    class Umlaut(SquashSandbox):
        password = "pässwörd"

    async with Umlaut(SMALL) as sandbox:
        made = source(sandbox, username="admin", password="pässwörd")
        assert await made.check()
    beyond = await ADAPTER.signer({"username": "x", "password": "日本"}).sign(RequestToSign("GET", URL("http://x")))
    assert beyond.headers["Authorization"].startswith("Basic ")


async def test_server_that_takes_no_passwords_is_said_to_want_a_token():
    async with running(basic_allowed=False) as (sandbox, _):
        made = source(sandbox, username=sandbox.user, password=sandbox.password)
        with pytest.raises(errors.AuthError, match="personal API token"):
            await made.check()


async def test_wrong_context_path_is_named():
    async with running() as (sandbox, _):
        http = closed_later(HttpClient(sandbox.url.removesuffix("/squash"), ADAPTER.signer(sandbox.credentials)))
        made = SquashSource(http, Options())
        with pytest.raises(errors.TrackerUnreachableError, match="/squash"):
            await made.check()


# --- writing


async def sent(sandbox: SquashSandbox, name: str, content: bytes = b"x", kind: str = "test-cases", **options: str):
    goal = target(sandbox, Options(**options))
    return await goal.upload(first(sandbox, kind), Draft(name, "", "", len(content)), Bytes(content))


def names_on(sandbox: SquashSandbox, kind: str = "test-cases") -> list[str]:
    owner = entity_of(sandbox, first(sandbox, kind))
    return [file.name for file in sandbox.state.files_of(owner) if file.id in sandbox.state.uploads]


@pytest.mark.parametrize(
    ("name", "legal"),
    [
        ("no extension", "no extension.bin"),
        (".gitignore", "_.gitignore"),
        ("a.verylongextension", "a.verylongextension.bin"),
        ("ends with a dot.", "ends with a dot..bin"),
        ("a.b/c", "a.b/c.bin"),
        ("", "_.bin"),
        (" ", "_ .bin"),
        ("..", "...bin"),
        ("new\nline.txt", "new_line.txt"),
        ('say "yes".txt', 'say "yes".txt'),
        ("a.pdf.pdf", "a.pdf.pdf"),
    ],
)
def test_name_becomes_one_that_the_server_can_hold(name, legal):
    goal = SquashTarget(HttpClient("http://127.0.0.1:1", ADAPTER.signer({"token": "x"})), Options())
    assert goal.legal_name(name) == legal


@given(st.text(max_size=30))
def test_legal_names_are_legal_and_stay(name):
    goal = SquashTarget(HttpClient("http://127.0.0.1:1", ADAPTER.signer({"token": "x"})), Options(extension="txt"))
    legal = goal.legal_name(name)
    stem, dot, ext = legal.rpartition(".")
    assert stem.strip()
    assert dot
    assert 0 < len(ext.strip()) <= len(ext) <= 10
    assert goal.legal_name(legal) == legal


@pytest.mark.parametrize("extension", ["", ".bin", "verylongextension", "a/b"])
def test_extension_that_is_none_is_refused_at_once(extension):
    with pytest.raises(errors.ConfigError, match="extension"):
        SquashTarget(HttpClient("http://127.0.0.1:1", ADAPTER.signer({"token": "x"})), Options(extension=extension))


async def test_target_never_ignores_what_it_cannot_look_up():
    async with running(untold=OWNERS) as (sandbox, _):
        with pytest.raises(errors.NotExposedError):
            await target(sandbox, Options(untold="ignore")).find_attachments(first(sandbox, "campaigns"))


async def test_extension_for_names_without_one_is_an_option():
    goal = SquashTarget(HttpClient("http://127.0.0.1:1", ADAPTER.signer({"token": "x"})), Options(extension="txt"))
    assert goal.legal_name("README") == "README.txt"


@pytest.mark.parametrize("name", ["no extension", ".txt", "n" * 252 + ".txt"])
async def test_name_that_would_break_the_server_is_never_sent(name):
    async with running() as (sandbox, _):
        with pytest.raises(errors.RejectedError, match="not a name that Squash TM can store"):
            await sent(sandbox, name)
        assert not sandbox.requests


@pytest.mark.parametrize("path_names", [True, False])
@pytest.mark.parametrize("name", ['say "yes".txt', "../../evil.txt", "back\\slash.txt"])
async def test_name_that_no_header_carries_arrives_by_renaming(name, path_names):
    async with running(path_names=path_names) as (sandbox, _):
        made = await sent(sandbox, name)
        assert (made.name, made.size) == (name, 1)
        assert names_on(sandbox) == [name]
        assert sandbox.requests["PATCH /api/rest/latest/attachments/{id}"] == 1


async def test_ordinary_name_is_sent_as_it_is_and_not_renamed():
    async with running() as (sandbox, _):
        await sent(sandbox, "100%41; ü.txt")
        assert names_on(sandbox) == ["100%41; ü.txt"]
        assert not sandbox.requests["PATCH /api/rest/latest/attachments/{id}"]


class Unrenaming(Writes):
    """Fails to rename, so many times."""

    failures = 1

    async def rename(self, request):
        if self.failures:
            self.failures -= 1
            raise RefusedError(500, "later")
        return await super().rename(request)


async def test_file_left_between_upload_and_rename_is_renamed_and_not_sent_again():
    async with composed(SMALL, writes=Unrenaming) as sandbox:
        with pytest.raises(errors.RetriableError):
            await sent(sandbox, 'a"b.txt', b"one")
        [left] = names_on(sandbox)
        assert left == await passing_name('a"b.txt', Bytes(b"one"))
        made = await sent(sandbox, 'a"b.txt', b"one")
        assert made.name == 'a"b.txt'
        assert names_on(sandbox) == ['a"b.txt']
        assert sandbox.requests["POST /api/rest/latest/test-cases/{id}/attachments"] == 1


async def test_only_the_same_file_counts_as_left_between():
    async with composed(SMALL, writes=Unrenaming) as sandbox:
        with pytest.raises(errors.RetriableError):
            await sent(sandbox, 'a"b.txt', b"one")
        await sent(sandbox, 'a"b.txt', b"two")
        await sent(sandbox, "a/b.txt", b"one")
        await sent(sandbox, 'a"b.txt', b"one")
        assert Counter(names_on(sandbox)) == {'a"b.txt': 2, "a/b.txt": 1}


async def test_equal_files_with_odd_names_are_all_kept_when_sent_side_by_side():
    async with running() as (sandbox, _):
        goal, owner = target(sandbox), first(sandbox, "campaigns")
        drafts = [Draft('a"b.txt', "", "", 1)] * 4
        made = await asyncio.gather(*(goal.upload(owner, draft, Bytes(b"x")) for draft in drafts))
    assert len({file.id for file in made}) == 4
    assert names_on(sandbox, "campaigns") == ['a"b.txt'] * 4


async def test_upload_answered_without_a_file_is_looked_up_by_its_sent_name():
    class Mumbling(Writes):
        async def upload(self, request, node):
            await super().upload(request, node)
            return web.Response(status=201, text="done")

    async with composed(SMALL, writes=Mumbling) as sandbox:
        assert await sent(sandbox, "a.txt") is None
        made = await sent(sandbox, "a/b.txt")
        assert made.name == "a/b.txt"
        assert names_on(sandbox) == ["a.txt", "a/b.txt"]


@pytest.mark.parametrize("refuses", [True, False])
async def test_extension_that_is_not_on_the_whitelist_is_named(refuses):
    async with running(whitelist=DEFAULT_WHITELIST, whitelist_refuses=refuses) as (sandbox, _):
        with pytest.raises(errors.RejectedError, match=r"extension \.png is probably not on its whitelist") as caught:
            await sent(sandbox, "a.png")
        assert not isinstance(caught.value, errors.OutcomeUnknownError)
        await sent(sandbox, "a.PDF")
        assert names_on(sandbox) == ["a.PDF"]


async def test_file_over_the_limit_is_told_with_the_limit():
    async with running() as (sandbox, _):
        sandbox.faults.max_upload_bytes = 4_000
        with pytest.raises(errors.RejectedError, match="larger than the server's limit of 4000 bytes"):
            await sent(sandbox, "a.txt", b"x" * 80_000)
        await sent(sandbox, "a.txt", b"x" * 4_000)


async def test_step_that_is_no_action_takes_no_file_and_is_said_so():
    async with running() as (sandbox, _):
        step = EntityRef("test-steps", str(CALL_STEPS + sandbox.tree.kinds["test-cases"][0].number))
        goal = target(sandbox)
        with pytest.raises(errors.NotExposedError, match="call-step"):
            await goal.find_attachments(step)
        with pytest.raises(errors.RejectedError, match="can't hold attachments"):
            await goal.upload(step, Draft("a.txt", "", "", 1), Bytes(b"x"))


@pytest.mark.parametrize("kind", ["requirements", "Bug", "", "../projects"])
async def test_kind_that_carries_no_files_is_refused_with_those_that_do(kind):
    async with running() as (sandbox, _):
        goal = target(sandbox)
        with pytest.raises(errors.RejectedError, match="requirement-versions"):
            await goal.find_attachments(EntityRef(kind, "1"))
        assert not sandbox.requests


@pytest.mark.parametrize("number", ["", "1/../2", "x", "1?a=b", "-1", "²"])
async def test_id_that_is_no_number_leads_nowhere(number):
    async with running() as (sandbox, _):
        goal = target(sandbox)
        for call in (
            goal.find_attachments(EntityRef("campaigns", number)),
            goal.read_back(Attachment(number, EntityRef("campaigns", "1"), "x"), MemorySink()),
            goal.delete(Attachment(number, EntityRef("campaigns", "1"), "x")),
        ):
            with pytest.raises(errors.GoneError):
                await call
        assert not sandbox.requests


async def test_account_that_may_only_read_is_told_so():
    async with running(read_only=True) as (sandbox, _):
        with pytest.raises(errors.ForbiddenError):
            await sent(sandbox, "a.txt")


async def test_upload_whose_answer_is_lost_has_an_open_fate():
    async with running() as (sandbox, _):
        sandbox.faults.lose_upload_answers = 1
        with pytest.raises(errors.OutcomeUnknownError):
            await sent(sandbox, "a.txt")
        assert names_on(sandbox) == ["a.txt"]


@pytest.mark.parametrize("status", [403, 404, 405, 500])
async def test_upload_answer_is_believed_where_the_file_cannot_be_looked_up(status):
    class Blind(Reads):
        async def file(self, request):
            raise RefusedError(status, "not now")

    async with composed(SMALL, reads=Blind) as sandbox:
        made = await sent(sandbox, "a.txt", b"four")
        assert (made.name, made.size) == ("a.txt", None), "the answer states no size"
        assert {made.id} == {str(number) for number in sandbox.state.uploads}


async def test_name_unfit_for_a_header_arrives_where_files_cannot_be_looked_up():
    class Blind(Reads):
        async def file(self, request):
            raise RefusedError(404, "No such path")

    async with composed(SMALL, reads=Blind) as sandbox:
        for _ in range(2):
            assert (await sent(sandbox, 'say "a".txt')).name == 'say "a".txt'
        assert names_on(sandbox) == ['say "a".txt'] * 2


class Lagging(Writes):
    """Its records are those of a replica that is behind; answers to uploads tell nothing if it mumbles."""

    mumbles = True

    def __init__(self, *parts):
        super().__init__(*parts)
        state, shown = self._state, self._state.attachments_of
        state.attachments_of = lambda id_: [file for file in shown(id_) if file.id not in state.uploads]

    async def upload(self, request, node):
        answer = await super().upload(request, node)
        return web.Response(status=201, text="done") if self.mumbles else answer


@pytest.mark.parametrize("mumbles", [True, False])
async def test_name_unfit_for_a_header_is_not_sent_twice_to_a_list_that_lags(mumbles):
    async with composed(SMALL, writes=Lagging) as sandbox:
        sandbox.writes.mumbles = mumbles
        goal, owner = target(sandbox), first(sandbox, "test-cases")
        draft = Draft('a"b.txt', "", "", 1)
        for _ in range(3 if mumbles else 1):
            with contextlib.suppress(errors.OutcomeUnknownError):
                assert (await goal.upload(owner, draft, Bytes(b"x"))).name == draft.name
        assert len(sandbox.state.uploads) == 1


async def test_renaming_that_fails_sends_nothing_again_though_the_list_lags():
    class Both(Lagging, Unrenaming):
        mumbles, failures = False, 2

    async with composed(SMALL, writes=Both) as sandbox:
        goal, owner = target(sandbox), first(sandbox, "test-cases")
        patient = RetryingTarget(goal, NO_PATIENCE)
        made = await patient.upload(owner, Draft('a"b.txt', "", "", 1), Bytes(b"x"))
        assert made.name == 'a"b.txt'
        assert len(sandbox.state.uploads) == 1


async def test_file_is_deleted_from_its_owner_once():
    async with running() as (sandbox, _):
        goal, owner = target(sandbox), first(sandbox, "executions")
        kept = await goal.upload(owner, Draft("kept.txt", "", "", 1), Bytes(b"x"))
        made = await goal.upload(owner, Draft("a.txt", "", "", 1), Bytes(b"x"))
        await goal.delete(made)
        assert made.id not in {file.id for file in await goal.find_attachments(owner)}
        assert kept.id in {file.id for file in await goal.find_attachments(owner)}
        with pytest.raises(errors.GoneError):
            await goal.delete(made)


# --- answers that make no sense

NONSENSE = [
    [],
    "x",
    {},
    {"_embedded": None},
    {"_embedded": []},
    {"_embedded": {"campaigns": {}}},
    {"_embedded": {"campaigns": None}},
    {"_embedded": {"campaigns": [1]}},
    {"_embedded": {"campaigns": [{}]}},
    {"_embedded": {"campaigns": [{"id": "x"}]}},
    {"_embedded": {"campaigns": [{"id": -1}]}},
    {"_embedded": {"campaigns": [{"id": True}]}},
    {"_embedded": {"campaigns": [{"id": 1.5}]}},
    {"page": {"totalPages": 3, "number": 0}},
]


def answering(body: object):
    class Nonsense(SquashSandbox):
        def answering(self, handler):
            async def answer(request):
                return web.json_response(body)

            return answer

    return Nonsense(SMALL)


@pytest.mark.parametrize("body", NONSENSE)
async def test_listing_that_makes_no_sense_is_a_wrong_body(body):
    async with answering(body) as sandbox:
        made = source(sandbox)
        with pytest.raises(errors.UnexpectedBodyError):
            await made.read("campaigns", None)


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"attachments": [{}]},
        {"attachments": ["http://x/5"]},
        {"attachments": [{"id": "x"}]},
        {"attachments": "x"},
        {},
    ],
)
async def test_owner_that_makes_no_sense_ends_in_our_words(body):
    async with answering(body) as sandbox:
        made = source(sandbox)
        with pytest.raises(errors.UnexpectedBodyError):
            await made.attachments_of(Entity(EntityRef("campaigns", "1")))


@pytest.mark.parametrize("body", [[], {"current_version": {}}, {"versions": [{}]}, {"versions": [5]}, {}])
async def test_requirement_that_makes_no_sense_is_a_wrong_body(body):
    async with answering(body) as sandbox:
        made = source(sandbox)
        with pytest.raises(errors.UnexpectedBodyError):
            await made.read("requirements", json.dumps([["requirements/1", 0, 100, 0, 1]]))


FIELDS = ("id", "name", "size", "file_type", "added_on", "_links", "self", "href", "_embedded", "attachments")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=8,
)


@given(VALUES)
def test_whatever_is_told_ends_in_a_file_or_in_our_words(value):
    assert created_in(json.dumps(value).encode()) is None or isinstance(value, dict)
    if isinstance(value, dict):
        for read in (
            lambda item: items_in(item, "campaigns"),
            lambda item: attachment_in(item, EntityRef("campaigns", "1")),
        ):
            try:
                read(value)
            except errors.UnexpectedBodyError:
                continue


def test_file_is_understood_in_either_spelling():
    owner = EntityRef("campaigns", "1")
    told = {"id": 5, "name": "report.final", "fileType": "pdf", "size": 3, "addedOn": "2018-06-15T10:00:00.000+0000"}
    file = attachment_in(told, owner)
    assert (file.name, file.size, file.created_at) == ("report.final.pdf", 3, "2018-06-15T10:00:00+00:00")
    picture = attachment_in({"id": 5, "name": "a.png", "file_type": "image/png"}, owner)
    assert (picture.name, picture.media_type) == ("a.png", "image/png")
    for ext in ("/x", "x/", "/", "//", "a/b", "v1/2", "image/", "image/a/b", " image/png", "image/p ng", ""):
        file = attachment_in({"id": 5, "name": "a", "file_type": ext}, owner)
        assert (file.name, file.media_type) == (f"a.{ext}", "")
    assert attachment_in({"id": 5, "name": "a", "file_type": None, "size": -1}, owner).size is None
    assert attachment_in({"name": "a", "_links": {"self": {"href": "http://h/attachments/9?x"}}}, owner).id == "9"
    assert attachment_in({"id": 5, "name": "a.pdf", "file_type": "pdf"}, owner).name == "a.pdf.pdf"


CURSORS = ["[]", "[[1,0,2,0,1]]", '[["campaigns",0,2]]', '[["campaigns","x",2,0,1]]', "null", "3"]


@pytest.mark.parametrize("cursor", CURSORS)
def test_cursor_of_another_shape_is_refused(cursor):
    with pytest.raises(errors.ArchiveDamagedError):
        decode(cursor)


# --- the whole way


ODD = ["plain.txt", 'say "yes".txt', 'say "yes".txt', "../up.txt", "no extension", "same.txt", "same.txt"]


class Dead(BaseException):
    """What a kill looks like from inside: nobody answers to it."""


class Mortal(HttpClient):
    """Dies at its n-th request that writes, before it is sent or when it was answered."""

    die_at, before, writes = 0, True, 0

    async def send(self, call):
        self.writes += call.method != "GET"
        due = call.method != "GET" and self.writes == self.die_at
        if due and self.before:
            raise Dead
        answer = await super().send(call)
        if due:
            raise Dead
        return answer


async def backed_up(root) -> EntityRef:
    tracker = MemoryTracker()
    owner = tracker.add("Bug")
    for number, name in enumerate(ODD):
        tracker.attach(owner, name, b"same" if name == "same.txt" else b"%d" % (number // 3))
    await run_backup(tracker, root)
    return owner


async def load_into(sandbox: SquashSandbox, root, owner: EntityRef, die_at: int = 0, *, before: bool = True) -> Mortal:
    http = closed_later(Mortal(sandbox.url, ADAPTER.signer(sandbox.credentials)))
    http.die_at, http.before = die_at, before
    goal = RetryingTarget(SquashTarget(http, Options()), PATIENCE)
    await run_load(sandbox, root, {owner: (first(sandbox, "iterations"),)}, target=goal)
    return http


def assert_all_there_once(sandbox: SquashSandbox) -> None:
    owner = entity_of(sandbox, first(sandbox, "iterations"))
    there = Counter((file.name, file.sha256) for file in sandbox.state.files_of(owner))
    wanted = Counter()
    for number, name in enumerate(ODD):
        content = b"same" if name == "same.txt" else b"%d" % (number // 3)
        wanted["no extension.bin" if name == "no extension" else name, sha256(content)] += 1
    assert there == wanted


@pytest.mark.parametrize("before", [True, False])
async def test_load_killed_at_any_write_leaves_each_file_once_with_its_name(tmp_path, before):
    owner = await backed_up(tmp_path / "whole")
    for die_at in range(1, 100):
        root = tmp_path / str(die_at)
        shutil.copytree(tmp_path / "whole", root)
        async with SquashSandbox(SMALL.without_attachments()) as sandbox:
            with contextlib.suppress(Dead, BaseExceptionGroup):
                http = await load_into(sandbox, root, owner, die_at, before=before)
                assert http.writes < die_at
                break
            await load_into(sandbox, root, owner)
            assert_all_there_once(sandbox)
            [(failed,)] = rows(root, "SELECT count(*) FROM uploads WHERE status NOT IN ('uploaded', 'already_there')")
            assert failed == 0
    assert die_at == len(ODD) + 3 + 1, "an upload each, and three new names"


async def test_load_through_lost_answers_leaves_each_file_there_once(tmp_path):
    owner = await backed_up(tmp_path)
    async with SquashSandbox(
        SMALL.without_attachments(), Faults(lose_upload_rate=0.6, fail_upload_rate=0.2)
    ) as sandbox:
        for _ in range(5):
            await load_into(sandbox, tmp_path, owner)
        assert_all_there_once(sandbox)
        assert sandbox.faults.injected["lose_upload_answers"] > 1


@pytest.mark.parametrize("status", [404, 405])
async def test_load_to_a_server_without_records_of_files_sends_each_file_once(tmp_path, status):
    class Blind(Reads):
        async def file(self, request):
            raise RefusedError(status, "No such path")

    owner = await backed_up(tmp_path)
    async with composed(SMALL.without_attachments(), reads=Blind) as sandbox:
        for _ in range(3):
            await load_into(sandbox, tmp_path, owner)
            assert_all_there_once(sandbox)
        assert len(sandbox.state.uploads) == len(ODD)
        [(failed,)] = rows(tmp_path, "SELECT count(*) FROM uploads WHERE status NOT IN ('uploaded', 'already_there')")
        assert failed == 0


# --- dates of changes


async def dates_of(sandbox: SquashSandbox, kind: str) -> set[str]:
    done = await crawl(source(sandbox, Options(change_dates=True)))
    return {entity.modified_at for _, _, page in done.steps for entity in page.ask if entity.ref.kind == kind}


async def test_an_owner_that_was_never_changed_has_its_date_of_creation():
    async with SquashSandbox(replace(SMALL, attachments=())) as sandbox:
        assert await dates_of(sandbox, "test-cases") == {"2015-01-01T08:00:00.000+00:00"}


async def test_kinds_whose_files_may_change_no_date_have_none():
    async with SquashSandbox(SMALL) as sandbox:
        dated = {kind for kind in OWNERS if await dates_of(sandbox, kind) - {""}}
        assert dated == {"test-cases", "campaigns", "requirement-versions"}


async def test_a_server_that_ignores_fields_gives_lists_without_dates():
    async with SquashSandbox(SMALL, knows_fields=False) as sandbox:
        assert await dates_of(sandbox, "test-cases") == {""}


async def test_lists_are_asked_for_no_fields_without_the_option():
    async with SquashSandbox(SMALL) as sandbox:
        pages = [page for _, _, page in (await crawl(source(sandbox))).steps]
        cases = [entity for page in pages for entity in page.ask if entity.ref.kind == "test-cases"]
        assert cases
        assert not any("last_modified_on" in (entity.raw or "") for entity in cases)
