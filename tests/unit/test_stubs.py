"""Entities that are missing at the target are created, exactly once, whatever is lost on the way."""

from __future__ import annotations

import asyncio
import itertools
import pickle
import shutil
from collections import Counter

import pytest

from migrator.errors import ConfigError, ForbiddenError, OutcomeUnknownError
from migrator.layers.dry_run import DryRunTarget
from migrator.layers.retry import RetryingTarget
from migrator.mapping.file import add_rows, read_mapping
from migrator.model import NOBODY, Entity, EntityRef
from migrator.pipeline.load.html_text import plain_text
from migrator.pipeline.load.stubs import stub_for
from migrator.trackers.lenient import as_html
from migrator.trackers.memory import MemoryTarget, MemoryTracker
from tests.support.killed import DIED, DONE, STRIDE, LastingTarget, in_child
from tests.support.parts import PATIENCE, files_on, run_backup, run_load, small_tracker


@pytest.fixture
async def backed_up(tmp_path):
    source = small_tracker()
    source.add("Bug", title="without files")
    await run_backup(source, tmp_path / "archive")
    return tmp_path, source, MemoryTracker()


async def creating(folder, tracker, **changes):
    """One load as the command makes it: with the mapping file as it stands."""
    path = folder / "mapping.csv"
    mapping = read_mapping(path, may_be_missing=True)
    changes = {"create_missing": True, "add_rows": lambda rows: add_rows(path, rows), **changes}
    return await run_load(tracker, folder / "archive", mapping, **changes)


def assert_one_stub_each(folder, source, target) -> None:
    """Each source entity with files has one entity, one row, and all its files there."""
    mapping = read_mapping(folder / "mapping.csv")
    with_files = {file.owner for file in source.files.values()} - {NOBODY}
    assert set(mapping) == with_files
    assert Counter(to for targets in mapping.values() for to in targets) == Counter(list(target.entities))
    for of, (to,) in mapping.items():
        assert target.entities[to].title == source.entities[of].title
        there = Counter(found[:2] for found in files_on(target, to).elements())
        assert there == Counter(found[:2] for found in files_on(source, of).elements())


async def test_each_entity_with_files_gets_a_stub_and_a_row_in_the_mapping(backed_up):
    folder, source, target = backed_up
    summary = await creating(folder, target)
    assert summary["status"] == "complete"
    count = len({file.owner for file in source.files.values()} - {NOBODY})
    assert summary["stubs"] == {"created": count, "found": 0, "failed": 0}
    assert summary["uploads"]["unmapped"] == 1, "the file of nobody"
    assert_one_stub_each(folder, source, target)
    assert "created" in (folder / "mapping.csv").read_text()


async def test_a_second_load_creates_nothing_even_if_the_mapping_file_was_lost(backed_up):
    folder, source, target = backed_up
    await creating(folder, target)
    again = await creating(folder, target)
    assert again["stubs"] == {"created": 0, "found": 0, "failed": 0}
    (folder / "mapping.csv").unlink()
    lost = await creating(folder, target)
    assert (lost["stubs"]["created"], lost["uploads"]["uploaded"]) == (0, 0)
    assert lost["stubs"]["found"] == len(target.entities)
    assert_one_stub_each(folder, source, target)


async def test_a_row_of_a_person_is_kept_and_its_entity_gets_no_stub(backed_up):
    folder, _, target = backed_up
    mine = target.add("Issue", title="chosen by hand")
    line = f"Story,1,Issue,{mine.id}\n"
    (folder / "mapping.csv").write_text("source_kind,source_id,target_kind,target_id\n" + line)
    await creating(folder, target)
    assert line in (folder / "mapping.csv").read_text()
    assert read_mapping(folder / "mapping.csv")[EntityRef("Story", "1")] == (mine,)
    assert files_on(target, mine)
    assert [entity.title for entity in target.entities.values()].count("entity 0") == 0


@pytest.mark.parametrize("arrives", [True, False])
async def test_an_unanswered_creation_is_looked_for_before_it_is_repeated(backed_up, arrives):
    folder, source, target = backed_up
    lost = set()

    async def on_call(verb, key):
        if verb == ("created" if arrives else "create_entity") and key not in lost and len(lost) < 3:
            lost.add(key)
            raise OutcomeUnknownError("no answer")

    target.on_call = on_call
    first = await creating(folder, target)
    assert first["stubs"]["failed"] == (0 if arrives else 3)
    assert first["status"] == ("complete" if arrives else "incomplete")
    target.on_call = None
    assert (await creating(folder, target))["status"] == "complete"
    assert_one_stub_each(folder, source, target)


async def test_a_failed_creation_fails_alone_with_its_reason_and_is_tried_again(backed_up):
    folder, source, target = backed_up

    async def forbid(verb, _):
        if verb == "create_entity" and not forbidden:
            forbidden.append(verb)
            raise ForbiddenError("not for this account")

    forbidden: list[str] = []
    target.on_call = forbid
    summary = await creating(folder, target)
    assert (summary["status"], summary["stubs"]["failed"]) == ("incomplete", 1)
    [failure] = summary["failures"]
    assert "not for this account" in failure["reason"]
    assert EntityRef(failure["kind"], failure["entity"]) in source.entities
    assert (await creating(folder, target))["stubs"]["created"] == 1
    assert_one_stub_each(folder, source, target)


async def test_a_target_that_creates_nothing_says_so_before_anything_is_done(backed_up):
    folder, _, _ = backed_up
    target = MemoryTracker(creates=False)
    with pytest.raises(ConfigError, match="create_missing"):
        await creating(folder, target)


async def test_a_dry_run_creates_nothing_and_says_how_many_it_would(backed_up):
    folder, source, target = backed_up
    dry = DryRunTarget(RetryingTarget(MemoryTarget(target), PATIENCE))
    summary = await creating(folder, target, target=dry, dry_run=True)
    with_files = {file.owner for file in source.files.values()} - {NOBODY}
    assert summary["stubs"] == {"would_create": len(with_files)}
    assert target.entities == {}
    assert not (folder / "mapping.csv").exists()


async def test_a_stop_writes_the_rows_of_what_was_created(backed_up):
    folder, source, target = backed_up
    stop = asyncio.Event()

    async def on_call(verb, _):
        if verb == "created" and len(target.entities) == 3:
            stop.set()
        if stop.is_set():
            await asyncio.sleep(0.05)

    target.on_call = on_call
    summary = await creating(folder, target, stop=stop)
    assert summary["status"] == "interrupted"
    assert 3 <= len(read_mapping(folder / "mapping.csv")) == len(target.entities) < 12
    target.on_call = None
    await creating(folder, target)
    assert_one_stub_each(folder, source, target)


class LastingCreator(LastingTarget):
    """What is created is on disk, too, before it is answered."""

    async def create_entity(self, draft):
        self._steps()
        made = await super().create_entity(draft)
        self._save()
        self._steps()
        return made

    def _save(self):
        super()._save()
        fresh = self._path.with_suffix(".entities.new")
        fresh.write_bytes(pickle.dumps((self._tracker.entities, self._tracker._numbers)))
        fresh.replace(self._path.with_suffix(".entities"))


def restored(state) -> MemoryTracker:
    target = MemoryTracker()
    entities = state.with_suffix(".entities")
    if entities.exists():
        target.entities, target._numbers = pickle.loads(entities.read_bytes())
    if state.exists():
        found = pickle.loads(state.read_bytes())
        target.files, target.content, target.uploads = found["files"], found["content"], found["uploads"]
    used = [*target._numbers.values(), *map(int, target.files), 0]
    target._last_number = max(used)
    return target


@pytest.mark.timeout(300)
def test_a_load_killed_at_any_step_creates_each_stub_once(tmp_path):
    source = MemoryTracker()
    for number in range(3):
        source.attach(source.add("Bug", title=f"bug {number}"), "a.txt", b"%d" % number)
    asyncio.run(run_backup(source, tmp_path / "archive"))

    def work_in(folder):
        async def work(steps):
            target = restored(folder / "target")
            lasting = RetryingTarget(LastingCreator(target, folder / "target", steps), PATIENCE)
            path = folder / "mapping.csv"

            def add(rows):
                steps()
                add_rows(path, rows)
                steps()

            await creating(folder, target, target=lasting, uploads=2, add_rows=add)

        return work

    for step in itertools.count(1, STRIDE):
        folder = tmp_path / str(step)
        shutil.copytree(tmp_path / "archive", folder / "archive")
        code, _ = in_child(work_in(folder), die_at=step)
        if code == DONE:
            break
        assert code == DIED, step
        code, _ = in_child(work_in(folder), die_at=0)
        assert code == DONE, step
        assert_one_stub_each(folder, source, restored(folder / "target"))
    assert step > 20


# --- what a stub holds


def test_a_stub_links_its_original_and_has_its_description_as_plain_text():
    raw = '{"Id": 4711, "Description": "<div>First &amp; <b>second</b><br>line</div><script>x()</script>"}'
    draft = stub_for(
        Entity(EntityRef("Bug", "4711"), "Login fails", "https://tp.example/entity/4711", raw), "tp https://tp.example"
    )
    assert draft.title == "Login fails"
    assert draft.text.split("\n") == [
        "Migrated from tp https://tp.example: Bug 4711",
        "https://tp.example/entity/4711",
        "",
        "First & second",
        "line",
    ]


def test_marks_differ_by_source_kind_and_id_and_never_by_title():
    marks = {
        stub_for(Entity(EntityRef(kind, number), title), source).mark
        for source in ("a", "b")
        for kind in ("Bug", "Story")
        for number in ("1", "11")
        for title in ("x", "y")
    }
    assert len(marks) == 8


@pytest.mark.parametrize(
    ("markup", "plain"),
    [
        ("plain text\nwith lines ", "plain text\nwith lines"),
        ("<p>a</p><p>b</p>", "a\n\nb"),
        ("<ul><li>one<li>two</ul>&lt;tag&gt;", "one\ntwo\n<tag>"),
        ("a < b", "a < b"),
        ("<style>p{}</style></script>x", "x"),
        ("", ""),
    ],
)
def test_html_becomes_the_words_that_people_read(markup, plain):
    assert plain_text(markup) == plain


def test_plain_text_becomes_html_with_links_and_nothing_else():
    assert as_html("<b>\nhttps://x.example/?a=1&b=2 y") == (
        '<div>&lt;b&gt;<br/><a href="https://x.example/?a=1&amp;b=2">https://x.example/?a=1&amp;b=2</a> y</div>'
    )
