"""The load pipeline against the reference tracker: exactly once in effect, whatever is lost on the way."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import ClassVar

import pytest

from migrator.errors import (
    AuthError,
    ConnectError,
    ForbiddenError,
    OutcomeUnknownError,
    RejectedError,
    ThrottledError,
    TrackerUnreachableError,
)
from migrator.layers.dry_run import DryRunTarget
from migrator.layers.retry import RetryingTarget
from migrator.model import NOBODY, EntityRef
from migrator.progress import Silent
from migrator.trackers.memory import MemoryTarget, MemoryTracker
from tests.support.parts import PATIENCE, files_on, rows, run_backup, run_load, small_tracker, twin_of


@pytest.fixture
async def backed_up(tmp_path):
    """An archive, its source, an empty target and the mapping."""
    source = small_tracker()
    await run_backup(source, tmp_path)
    target, mapping = twin_of(source)
    return tmp_path, source, target, mapping


def assert_exactly_once(source, target, mapping, provenance=True):
    """Every mapped file is at the target once: name, bytes, and its description in the target's."""
    for of, targets in mapping.items():
        for to in targets:
            wanted = Counter(
                (name, content) for (name, content, _), n in files_on(source, of).items() for _ in range(n)
            )
            there = Counter((name, content) for (name, content, _), n in files_on(target, to).items() for _ in range(n))
            assert there == wanted, (of, to)
            described = [text for _, _, text in files_on(target, to).elements()]
            for _, _, text in files_on(source, of).elements():
                assert any(found.startswith(text) for found in described)


async def test_load_uploads_every_file_once_with_name_bytes_and_description(backed_up):
    root, source, target, mapping = backed_up
    summary = await run_load(target, root, mapping)
    assert_exactly_once(source, target, mapping)
    mapped = len(source.files) - 1
    assert summary["status"] == "complete"
    assert summary["uploads"] == {
        "planned": mapped, "uploaded": mapped, "already_there": 0, "unmapped": 1, "skipped": 0, "failed": 0,
    }  # fmt: skip
    assert target.uploads == mapped


async def test_second_load_uploads_nothing(backed_up):
    root, _source, target, mapping = backed_up
    await run_load(target, root, mapping)
    before = target.uploads
    summary = await run_load(target, root, mapping)
    assert target.uploads == before
    assert summary["uploads"]["already_there"] == before == summary["uploads"]["planned"]
    assert summary["uploads"]["uploaded"] == summary["bytes"] == 0


async def test_an_archive_made_anew_uploads_nothing_twice_either(backed_up, tmp_path_factory):
    root, source, target, mapping = backed_up
    await run_load(target, root, mapping)
    before = target.uploads
    other = tmp_path_factory.mktemp("other")
    await run_backup(source, other)
    summary = await run_load(target, other, mapping)
    assert target.uploads == before
    assert summary["uploads"]["already_there"] == before


async def test_nor_does_it_upload_files_twice_whose_names_were_made_legal(tmp_path):
    source = MemoryTracker()
    owner = source.add("Story")
    files = [("a/b.txt", b"one"), ("a_b.txt", b"two"), ("a/b.txt", b"six"), ("a/b.txt", b"six"), ("a:b/c.txt", b"one")]
    for name, content in files:
        source.attach(owner, name, content)
    target, mapping = twin_of(source)
    for number in range(3):
        await run_backup(source, tmp_path / f"{number}")
        summary = await run_load(target, tmp_path / f"{number}", mapping)
        assert summary["status"] == "complete"
        assert summary["uploads"]["already_there"] == (len(files) if number else 0)
        assert target.uploads == len(files)


async def test_nothing_is_sent_where_a_similar_file_there_cannot_be_read_back(backed_up):
    root, source, target, mapping = backed_up
    of, (to,) = next((of, targets) for of, targets in mapping.items() if source.of(of)[-1].size)
    file = source.of(of)[-1]
    theirs = target.attach(to, file.name, source.content[file.id])

    async def forbid(verb, key):
        if (verb, key) == ("read_back", theirs.id):
            raise ForbiddenError("GET file: status 403")

    target.on_call = forbid
    summary = await run_load(target, root, mapping)
    assert summary["status"] == "incomplete"
    [failure] = summary["failures"]
    assert failure["attachment"] == file.id
    assert "can't be read back" in failure["reason"]
    assert "403" in failure["reason"]
    target.on_call = None
    assert (await run_load(target, root, mapping))["status"] == "complete"
    assert len(target.files) == len(source.files) - 1, "nothing twice; one file has no entity"


async def test_the_description_of_a_file_that_was_there_before_is_left_as_it_is(backed_up):
    root, source, target, mapping = backed_up
    of, (to,) = next((of, targets) for of, targets in mapping.items() if source.of(of)[0].description)
    file = source.of(of)[0]
    theirs = target.attach(to, file.name, source.content[file.id], description="theirs")
    await run_load(target, root, mapping)
    assert target.files[theirs.id].description == "theirs"


async def test_a_file_of_equal_name_and_size_with_other_content_is_not_there(backed_up):
    root, source, target, mapping = backed_up
    of = next(file for file in source.files.values() if file.name == "big 7.bin")
    [to] = mapping[of.owner]
    target.attach(to, "big 7.bin", b"y" * 7)
    await run_load(target, root, mapping)
    contents = [target.content[file.id] for file in target.of(to) if file.name == "big 7.bin"]
    assert sorted(contents) == [b"x" * 7, b"y" * 7]


async def test_a_source_entity_on_two_rows_goes_to_both_targets(backed_up):
    root, source, target, mapping = backed_up
    of = next(iter(mapping))
    second = target.add("Issue")
    mapping[of] = (*mapping[of], second)
    await run_load(target, root, mapping)
    assert_exactly_once(source, target, mapping)
    assert files_on(target, second)


async def test_files_that_nothing_owns_can_be_mapped(backed_up):
    root, _source, target, mapping = backed_up
    mapping[NOBODY] = (target.add("Issue"),)
    summary = await run_load(target, root, mapping)
    assert summary["uploads"]["unmapped"] == 0
    assert files_on(target, mapping[NOBODY][0])


def losing_answers(target: MemoryTracker, losses: tuple[int, ...], *, arrives: bool):
    """A target that loses so many of the first answers for each of the first files, with the file there or not."""

    class Losing(MemoryTarget):
        lost = 0
        left: ClassVar[dict[int, int]] = {}

        async def upload(self, owner, draft, body):
            if id(draft) not in self.left and len(self.left) < len(losses):
                self.left[id(draft)] = losses[len(self.left)]
            if self.left.get(id(draft)):
                self.left[id(draft)] -= 1
                type(self).lost += 1
                if arrives:
                    await super().upload(owner, draft, body)
                raise OutcomeUnknownError("POST upload: no answer")
            return await super().upload(owner, draft, body)

    return Losing(target)


@pytest.mark.parametrize("arrives", [True, False])
async def test_an_upload_without_an_answer_is_looked_for_before_it_is_sent_again(backed_up, arrives):
    root, source, target, mapping = backed_up
    losing = losing_answers(target, (1, 1, 1, 1, 1) if arrives else (2, 2, 1), arrives=arrives)
    summary = await run_load(target, root, mapping, target=RetryingTarget(losing, PATIENCE), uploads=1)
    assert losing.lost == 5
    if arrives:
        assert summary["status"] == "complete"
        assert_exactly_once(source, target, mapping)
    else:
        # Sent twice and lost twice: not sent a third time in this run, and it stays in doubt.
        assert summary["uploads"]["failed"] == 2
        assert rows(root, "SELECT count(*) FROM uploads WHERE status = 'in_doubt'") == [(2,)]


async def test_what_stays_in_doubt_is_settled_by_the_next_run(backed_up):
    root, source, target, mapping = backed_up
    losing = losing_answers(target, (2, 2), arrives=False)
    first = await run_load(target, root, mapping, target=RetryingTarget(losing, PATIENCE), uploads=1)
    assert (first["status"], first["uploads"]["failed"]) == ("incomplete", 2)

    class Told(Silent):
        notes: ClassVar[list[str]] = []

        def note(self, text: str) -> None:
            self.notes.append(text)

    second = await run_load(target, root, mapping, progress=Told(), second=1.0)
    assert (second["status"], second["uploads"]["uploaded"]) == ("complete", 2)
    assert_exactly_once(source, target, mapping)
    assert ["before an upload was answered" in note for note in Told.notes] == [True], "once, of two"


async def test_in_doubt_copies_of_one_file_are_told_apart_by_count(tmp_path):
    source = MemoryTracker()
    owner = source.add("Bug")
    for _ in range(3):
        source.attach(owner, "same.txt", b"same")
    await run_backup(source, tmp_path)
    target, mapping = twin_of(source)
    await run_load(target, tmp_path, mapping)
    import sqlite3

    with sqlite3.connect(tmp_path / "catalog.db") as db:
        db.execute("UPDATE uploads SET status = 'in_doubt', remote_id = NULL WHERE rowid IN (1, 2)")
    [(claimed,)] = rows(tmp_path, "SELECT remote_id FROM uploads WHERE remote_id IS NOT NULL")
    target.remove(next(file.id for file in target.of(mapping[owner][0]) if file.id != claimed))
    summary = await run_load(target, tmp_path, mapping)
    assert summary["uploads"]["uploaded"] == 1, "one of the two in doubt was there, the other was sent"
    assert len(target.of(mapping[owner][0])) == 3


async def test_a_refused_upload_fails_alone_with_its_reason_and_is_tried_again(backed_up):
    root, source, target, mapping = backed_up
    struck = 0

    class Refusing(MemoryTarget):
        async def upload(self, owner, draft, body):
            nonlocal struck
            if draft.name == "big 7.bin":
                struck += 1
                raise RejectedError("POST upload: status 413, too large")
            return await super().upload(owner, draft, body)

    summary = await run_load(target, root, mapping, target=RetryingTarget(Refusing(target), PATIENCE))
    assert (summary["status"], summary["uploads"]["failed"], struck) == ("incomplete", 1, 1)
    assert summary["failures"][0]["reason"] == "POST upload: status 413, too large"
    assert (await run_load(target, root, mapping))["status"] == "complete"
    assert_exactly_once(source, target, mapping)


async def test_throttled_and_unconnected_uploads_are_sent_again_at_once(backed_up):
    root, source, target, mapping = backed_up
    faults = [ThrottledError("429", retry_after=1.0), ConnectError("no"), ThrottledError("503")]

    class Throttling(MemoryTarget):
        async def upload(self, owner, draft, body):
            if faults:
                raise faults.pop()
            return await super().upload(owner, draft, body)

    summary = await run_load(target, root, mapping, target=RetryingTarget(Throttling(target), PATIENCE), uploads=1)
    assert not faults
    assert summary["status"] == "complete"
    assert_exactly_once(source, target, mapping)


async def test_a_target_that_is_down_ends_the_load(backed_up):
    root, _, target, mapping = backed_up

    async def on_call(verb, _):
        if verb == "upload":
            raise ConnectError("no connection")

    target.on_call = on_call
    with pytest.raises(TrackerUnreachableError):
        await run_load(target, root, mapping)


async def test_refused_credentials_end_the_load_and_the_next_one_goes_on(backed_up):
    root, source, target, mapping = backed_up

    async def on_call(verb, _):
        if verb == "upload" and target.uploads > 5:
            raise AuthError("no longer welcome")

    target.on_call = on_call
    with pytest.raises(AuthError):
        await run_load(target, root, mapping)
    assert rows(root, "SELECT status FROM runs ORDER BY run_id DESC LIMIT 1") == [("failed",)]
    target.on_call = None
    assert (await run_load(target, root, mapping))["status"] == "complete"
    assert_exactly_once(source, target, mapping)


async def test_a_missing_target_entity_fails_its_files_and_no_others(backed_up):
    root, source, target, mapping = backed_up
    of = next(ref for ref in mapping if len(source.of(ref)) == 2)
    mapping[of] = (EntityRef("Issue", "9999"),)
    summary = await run_load(target, root, mapping)
    assert (summary["status"], summary["uploads"]["failed"]) == ("incomplete", 2)
    assert "9999" in summary["failures"][0]["reason"]
    del mapping[of]
    assert_exactly_once(source, target, mapping)


async def test_a_corrected_mapping_forgets_what_was_planned_by_the_old_one(backed_up):
    root, source, target, mapping = backed_up
    wrong = {ref: (EntityRef("Issue", "9999"),) for ref in mapping}
    assert (await run_load(target, root, wrong))["status"] == "incomplete"
    summary = await run_load(target, root, mapping)
    assert summary["uploads"]["planned"] == len(source.files) - 1
    assert summary["status"] == "complete"
    assert_exactly_once(source, target, mapping)


async def test_what_arrives_cut_is_named_and_not_sent_again(backed_up):
    root, _source, target, mapping = backed_up
    target.alters_content = lambda content: content[:6] if content == b"x" * 7 else content
    summary = await run_load(target, root, mapping)
    assert (summary["status"], summary["uploads"]["failed"]) == ("incomplete", 1)
    assert "6 bytes" in summary["failures"][0]["reason"]
    before = target.uploads
    assert (await run_load(target, root, mapping))["status"] == "incomplete"
    assert target.uploads == before


async def test_a_failed_description_is_set_by_the_next_run_without_an_upload(backed_up):
    root, source, target, mapping = backed_up

    class Plain(MemoryTarget):
        """Takes no description with the upload, as Targetprocess and TeamPulse."""

        async def upload(self, owner, draft, body):
            return await super().upload(owner, replace(draft, description=""), body)

    async def on_call(verb, _):
        if verb == "describe":
            raise ForbiddenError("POST describe: status 403")

    target.on_call = on_call
    described = [file for file in source.files.values() if file.created_by]
    summary = await run_load(target, root, mapping, target=Plain(target))
    assert summary["uploads"]["failed"] == len(described) > 0
    target.on_call = None
    before = target.uploads
    assert (await run_load(target, root, mapping, target=Plain(target)))["status"] == "complete"
    assert target.uploads == before
    assert_exactly_once(source, target, mapping)


async def test_a_target_that_keeps_the_first_description_is_asked_for_no_other(backed_up):
    root, _, target, mapping = backed_up
    target.capabilities = replace(target.capabilities, changes_description=False)

    class Rewording(MemoryTarget):
        async def upload(self, owner, draft, body):
            return await super().upload(owner, replace(draft, description="reworded"), body)

        async def describe(self, remote, description):
            raise AssertionError("it can't")

    summary = await run_load(target, root, mapping, target=Rewording(target))
    assert (summary["status"], summary["uploads"]["failed"]) == ("complete", 0)


async def test_illegal_names_become_legal_and_unique_and_the_original_is_kept(tmp_path):
    source = MemoryTracker()
    owner = source.add("Bug")
    for name in ("a:b.txt", "a?b.txt", "a_b.txt", "fine.txt"):
        source.attach(owner, name, name.encode())
    await run_backup(source, tmp_path)
    target, mapping = twin_of(source)

    class Strict(MemoryTarget):
        def legal_name(self, name):
            return name.replace(":", "_").replace("?", "_")

    assert (await run_load(target, tmp_path, mapping, target=Strict(target)))["status"] == "complete"
    there = {target.content[file.id].decode(): file.name for file in target.of(mapping[owner][0])}
    assert there["a_b.txt"] == "a_b.txt"
    assert there["fine.txt"] == "fine.txt"
    assert len(set(there.values())) == 4
    recorded = dict(rows(tmp_path, "SELECT a.name, u.name FROM uploads u JOIN attachments a USING (attachment_id)"))
    assert recorded == there


async def test_provenance_line_tells_author_and_date_and_can_be_switched_off(backed_up):
    root, source, target, mapping = backed_up
    await run_load(target, root, mapping, provenance=False)
    for of, (to,) in mapping.items():
        assert files_on(target, to) == files_on(source, of)


async def test_a_dry_run_sends_nothing_and_says_what_would_happen(backed_up):
    root, source, target, mapping = backed_up
    of = next(ref for ref in mapping if len(source.of(ref)) == 2)
    mapping[of] = (EntityRef("Issue", "9999"),)
    rehearsal = DryRunTarget(RetryingTarget(MemoryTarget(target), PATIENCE))
    summary = await run_load(target, root, mapping, target=rehearsal, dry_run=True)
    assert target.uploads == 0
    planned = len(source.files) - 1
    assert summary["uploads"]["planned"] == planned
    assert summary["uploads"]["uploaded"] == 0
    counts = {key: summary["dry_run"][key] for key in ("would_upload", "already_there", "would_fail")}
    assert counts == {"would_upload": planned - 2, "already_there": 0, "would_fail": 2}
    assert summary["status"] == "incomplete"
    assert not rows(root, "SELECT 1 FROM uploads WHERE status != 'planned'")


async def test_a_stop_ends_the_load_as_interrupted_and_the_next_one_goes_on(backed_up):
    root, source, target, mapping = backed_up
    stop = asyncio.Event()

    async def on_call(verb, _):
        if verb == "upload" and target.uploads >= 5:
            stop.set()

    target.on_call = on_call
    summary = await run_load(target, root, mapping, stop=stop)
    assert summary["status"] == "interrupted"
    assert 5 <= target.uploads < len(source.files) - 1
    target.on_call = None
    assert (await run_load(target, root, mapping))["status"] == "complete"
    assert_exactly_once(source, target, mapping)


async def test_a_damaged_blob_is_not_uploaded(backed_up):
    root, _source, target, mapping = backed_up
    [(sha256,)] = rows(root, "SELECT sha256 FROM attachments WHERE name = 'big 7.bin'")
    blob = root / "blobs" / sha256[:2] / sha256
    blob.chmod(0o600)
    blob.write_bytes(b"x" * 6 + b"?")
    summary = await run_load(target, root, mapping)
    assert summary["uploads"]["failed"] == 1
    assert "damaged" in summary["failures"][0]["reason"]
    assert not [file for file in target.files.values() if file.name == "big 7.bin"]


async def test_content_is_read_back_and_a_difference_is_named_until_it_is_mended(backed_up):
    root, source, target, mapping = backed_up

    class Garbling(MemoryTarget):
        """Says yes to the right name and size, and keeps other bytes."""

        async def upload(self, owner, draft, body):
            made = await super().upload(owner, draft, body)
            if draft.name == "big 7.bin":
                target.content[made.id] = b"?" * draft.size
            return made

    garbling = RetryingTarget(Garbling(target), PATIENCE)
    summary = await run_load(target, root, mapping, target=garbling, verify_content=True)
    sent = len(source.files) - 1
    assert summary["content"] == {"checked": sent, "same": sent - 1, "differ": 1, "unreadable": 0}
    assert (summary["status"], summary["uploads"]["failed"]) == ("incomplete", 1)
    assert [(failure["name"], "content" in failure["reason"]) for failure in summary["failures"]] == [
        ("big 7.bin", True)
    ]
    before = target.uploads
    again = await run_load(target, root, mapping)
    assert (again["status"], target.uploads) == ("incomplete", before), (
        "not accepted by its name and size, nor sent twice"
    )
    [bad] = [file.id for file in target.files.values() if file.name == "big 7.bin"]
    target.remove(bad)
    assert (await run_load(target, root, mapping, verify_content=True))["status"] == "complete"
    assert target.uploads == before + 1
    assert_exactly_once(source, target, mapping)


async def test_with_nothing_to_upload_all_that_is_recorded_as_there_is_read_back(backed_up):
    root, source, target, mapping = backed_up
    await run_load(target, root, mapping)
    sent = len(source.files) - 1
    whole = await run_load(target, root, mapping, verify_content=True)
    assert whole["content"] == {"checked": sent, "same": sent, "differ": 0, "unreadable": 0}
    assert whole["status"] == "complete"
    changed, lost, renamed = [file for file in target.files.values() if file.name.startswith("big")][5:8]
    target.content[changed.id] = b"#" * len(target.content[changed.id])
    target.remove(lost.id)
    target.files[renamed.id] = replace(renamed, name="other.bin")
    found = await run_load(target, root, mapping, verify_content=True)
    assert found["content"] == {"checked": sent, "same": sent - 3, "differ": 3, "unreadable": 0}
    assert found["status"] == "incomplete"
    assert {failure["name"] for failure in found["failures"]} == {changed.name, lost.name, renamed.name}


async def test_what_can_not_be_read_back_is_named_and_stays_uploaded(backed_up):
    root, _source, target, mapping = backed_up
    await run_load(target, root, mapping)
    hidden = next(file for file in target.files.values() if file.name == "big 7.bin")

    async def on_call(verb, key):
        if verb == "read_back" and key == hidden.id:
            raise ForbiddenError("GET file: status 403")

    target.on_call = on_call
    summary = await run_load(target, root, mapping, verify_content=True)
    assert (summary["status"], summary["content"]["unreadable"]) == ("incomplete", 1)
    assert "403" in summary["failures"][0]["reason"]
    assert rows(root, "SELECT count(*) FROM uploads WHERE status != 'uploaded'") == [(0,)]
    target.on_call = None
    assert (await run_load(target, root, mapping))["status"] == "complete"


async def test_a_load_of_something_new_reads_back_only_that(backed_up):
    root, source, target, mapping = backed_up
    await run_load(target, root, mapping)
    source.attach(next(iter(mapping)), "new.txt", b"new")
    await run_backup(source, root)
    summary = await run_load(target, root, mapping, verify_content=True)
    assert (summary["content"]["checked"], summary["uploads"]["uploaded"]) == (1, 1)


class Cutting(MemoryTarget):
    """Loses the last byte of what it gets; its answers state no size."""

    async def upload(self, owner, draft, body):
        made = await super().upload(owner, draft, body)
        content = self._tracker.content[made.id][:-1]
        self._tracker.content[made.id] = content
        self._tracker.files[made.id] = replace(self._tracker.files[made.id], size=len(content))
        return replace(made, size=None)


async def test_an_answer_without_a_size_is_held_against_a_list_also_after_a_kill(backed_up):
    root, _, target, mapping = backed_up
    looks, reached = Counter(), asyncio.Event()

    async def hang_at_the_second_look(verb, key):
        looks[verb, key] += 1
        if verb == "find_attachments" and looks[verb, key] == 2:
            reached.set()
            await asyncio.Event().wait()

    target.on_call = hang_at_the_second_look
    cutting = RetryingTarget(Cutting(target), PATIENCE)
    first = asyncio.create_task(run_load(None, root, mapping, target=cutting))
    await asyncio.wait_for(reached.wait(), 10)
    await asyncio.sleep(0.05)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert ("uploaded",) in rows(root, "SELECT status FROM uploads")
    target.on_call = None
    summary = await run_load(None, root, mapping, target=cutting)
    assert summary["status"] == "incomplete"
    assert any("bytes were sent" in failure["reason"] for failure in summary["failures"])
