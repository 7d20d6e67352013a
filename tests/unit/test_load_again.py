"""A load that is repeated looks whether what was loaded before is still there, and says so if it isn't."""

from __future__ import annotations

from collections import Counter

import pytest

from migrator.errors import ConnectError, ForbiddenError, GoneError, TrackerUnreachableError
from migrator.layers.dry_run import DryRunTarget
from migrator.layers.retry import RetryingTarget
from migrator.selection import Selection
from migrator.trackers.memory import MemoryTarget
from tests.support.parts import PATIENCE, files_on, rows, run_backup, run_load, small_tracker, twin_of


@pytest.fixture
async def loaded(tmp_path):
    """An archive, its source, a target into which it was loaded, and the mapping."""
    source = small_tracker()
    await run_backup(source, tmp_path)
    target, mapping = twin_of(source)
    await run_load(target, tmp_path, mapping)
    return tmp_path, source, target, mapping


def contents(tracker, mapping, *, of_targets):
    """Names and bytes on each entity, by the source entity."""
    return {
        of: Counter(file[:2] for file in files_on(tracker, to if of_targets else of).elements())
        for of, (to,) in mapping.items()
    }


def refusing(error, *calls):
    """For `on_call`: raises for these calls."""

    async def on_call(*call):
        if call in calls or call[0] in calls:
            raise error

    return on_call


async def test_an_emptied_target_is_named_and_filled_again_with_consent(loaded):
    root, source, target, mapping = loaded
    sent = target.uploads
    for file in list(target.files):
        target.remove(file)
    named = await run_load(target, root, mapping)
    assert (named["status"], named["uploads"]["failed"], target.uploads) == ("incomplete", 0, sent)
    found = await run_load(target, root, mapping, accept_gone=True)
    assert (found["status"], found["uploads"]["failed"], target.uploads) == ("incomplete", sent, sent)
    assert found["uploads"]["already_there"] == 0
    assert {failure["reason"] for failure in found["failures"]} == {
        "no longer at the target; the next load sends it again"
    }
    again = await run_load(target, root, mapping)
    assert (again["status"], again["uploads"]["uploaded"], target.uploads) == ("complete", sent, 2 * sent)
    assert contents(target, mapping, of_targets=True) == contents(source, mapping, of_targets=False)
    assert (await run_load(target, root, mapping))["uploads"]["already_there"] == sent
    assert target.uploads == 2 * sent


async def test_what_is_gone_at_both_ends_is_not_missed_for_ever(loaded):
    root, source, target, mapping = loaded
    attachment, remote = rows(root, "SELECT attachment_id, remote_id FROM uploads ORDER BY 1 LIMIT 1")[0]
    target.remove(remote)
    assert (await run_load(target, root, mapping))["uploads"]["failed"] == 1
    source.remove(attachment)
    await run_backup(source, root)
    again = await run_load(target, root, mapping, second=0.0)
    assert (again["status"], again["uploads"]["failed"], again["failures"]) == ("complete", 0, [])
    assert contents(target, mapping, of_targets=True) == contents(source, mapping, of_targets=False)


class Blind(MemoryTarget):
    """A target whose account may no longer see any file; it says that they are not there."""

    async def find_attachments(self, owner):
        return ()

    async def read_back(self, remote, sink):
        raise GoneError("status 404")


@pytest.mark.parametrize("how", [{}, {"verify_content": True}, {"dry_run": True}])
async def test_an_account_that_sees_no_files_is_no_emptied_target(loaded, how):
    root, _, target, mapping = loaded
    sent, before = target.uploads, rows(root, "SELECT * FROM uploads")
    for _ in range(2):
        blind = RetryingTarget(Blind(target), PATIENCE)
        blind = DryRunTarget(blind) if "dry_run" in how else blind
        found = await run_load(None, root, mapping, target=blind, **how)
        assert found["status"] == "incomplete"
        assert f"{sent} of {sent} files that were sent are not at the target" in found["failures"][-1]["reason"]
        assert len(found["failures"]) == sent + 1, "each of them is named"
    assert (target.uploads, rows(root, "SELECT * FROM uploads")) == (sent, before), "nothing was sent or recorded"
    assert (await run_load(target, root, mapping))["status"] == "complete"
    assert target.uploads == sent


async def test_a_few_files_that_are_gone_are_sent_again_without_consent(loaded):
    root, _, target, mapping = loaded
    sent = target.uploads
    for file in list(target.files)[:10]:
        target.remove(file)
    assert (await run_load(target, root, mapping))["uploads"]["failed"] == 10
    assert (await run_load(target, root, mapping))["uploads"]["uploaded"] == 10
    assert target.uploads == sent + 10


async def test_the_files_of_a_deleted_entity_are_named(loaded):
    root, _, target, mapping = loaded
    owner, (to,) = next((of, to) for of, to in mapping.items() if target.of(to[0]))
    names = {file.name for file in target.of(to)}
    for file in target.of(to):
        target.remove(file.id)
    del target.entities[to]
    found = await run_load(target, root, mapping)
    assert found["status"] == "incomplete"
    assert {(failure["entity"], failure["name"]) for failure in found["failures"]} == {
        (owner.id, name) for name in names
    }


async def test_each_entity_is_listed_once_and_no_file_is_read(loaded):
    root, _, target, mapping = loaded
    calls = Counter()

    async def count(verb, key):
        calls[verb, key] += 1

    target.on_call = count
    assert (await run_load(target, root, mapping))["status"] == "complete"
    with_files = {str(to) for (to,) in mapping.values() if target.of(to)}
    assert calls == Counter({("find_attachments", to): 1 for to in with_files})


async def test_a_list_alone_proves_nothing(loaded):
    root, _, target, mapping = loaded

    class Forgetful(MemoryTarget):
        async def find_attachments(self, owner):
            return ()

    forgetful = RetryingTarget(Forgetful(target), PATIENCE)
    sent = target.uploads
    found = await run_load(None, root, mapping, target=forgetful)
    assert (found["status"], found["uploads"]["already_there"], target.uploads) == ("complete", sent, sent)


async def test_a_file_that_cannot_be_looked_for_is_named_and_stays_uploaded(loaded):
    root, _, target, mapping = loaded
    lost = next(file for file in target.files.values() if file.name == "big 7.bin")
    content = target.content[lost.id]
    target.remove(lost.id)
    target.on_call = refusing(ForbiddenError("GET file: status 403"), ("read_back", lost.id))
    found = await run_load(target, root, mapping)
    assert (found["status"], len(found["failures"]), found["uploads"]["failed"]) == ("incomplete", 1, 0)
    assert "asking for it failed: GET file: status 403" in found["failures"][0]["reason"]
    assert rows(root, "SELECT count(*) FROM uploads WHERE status != 'uploaded'") == [(0,)]
    target.on_call, target.files[lost.id], target.content[lost.id] = None, lost, content
    assert (await run_load(target, root, mapping))["status"] == "complete"


async def test_files_of_an_entity_that_cannot_be_listed_stay_uploaded(loaded):
    root, _, target, mapping = loaded
    to = next(file.owner for file in target.files.values() if file.name == "big 7.bin")
    target.on_call = refusing(ForbiddenError("GET files: status 403"), ("find_attachments", str(to)))
    found = await run_load(target, root, mapping)
    assert found["status"] == "incomplete"
    assert {failure["reason"] for failure in found["failures"]} == {f"{to} could not be listed: GET files: status 403"}
    assert len(found["failures"]) == len(target.of(to))
    assert rows(root, "SELECT count(*) FROM uploads WHERE status != 'uploaded'") == [(0,)]


@pytest.mark.parametrize("verb", ["find_attachments", "read_back"])
async def test_a_target_that_is_down_is_not_taken_for_empty(loaded, verb):
    root, _, target, mapping = loaded
    target.remove(next(file.id for file in target.files.values()))
    target.on_call = refusing(ConnectError("no connection"), verb)
    with pytest.raises(TrackerUnreachableError):
        await run_load(target, root, mapping)
    assert rows(root, "SELECT count(*) FROM uploads WHERE status != 'uploaded'") == [(0,)]


async def test_a_dry_run_names_what_is_no_longer_there_and_records_nothing(loaded):
    root, _, target, mapping = loaded
    lost = next(file for file in target.files.values() if file.name == "big 7.bin")
    target.remove(lost.id)
    dry = DryRunTarget(RetryingTarget(MemoryTarget(target), PATIENCE))
    found = await run_load(None, root, mapping, target=dry, dry_run=True)
    assert (found["status"], found["dry_run"]["would_fail"]) == ("incomplete", 1)
    assert [(row["name"], row["what"]) for row in found["rehearsal"]] == [("big 7.bin", "refused")]
    assert found["uploads"]["already_there"] == target.uploads - 1
    assert rows(root, "SELECT count(*) FROM uploads WHERE status != 'uploaded'") == [(0,)]


async def test_what_the_mapping_or_the_source_no_longer_has_is_not_looked_for(loaded):
    root, source, target, mapping = loaded
    unmapped, deleted = [of for of, (to,) in mapping.items() if len(target.of(to)) > 1][:2]
    for of in (unmapped, deleted):
        for file in target.of(mapping[of][0]):
            target.remove(file.id)
    for file in source.of(deleted):
        source.remove(file.id)
    await run_backup(source, root, max_gone=None)
    rest = {of: to for of, to in mapping.items() if of != unmapped}
    assert (await run_load(target, root, rest))["status"] == "complete"


async def test_a_selection_is_not_looked_beyond(loaded):
    root, _, target, mapping = loaded
    lost = next(file for file in target.files.values() if file.name == "big 7.bin")
    target.remove(lost.id)
    others = await run_load(target, root, mapping, selection=Selection(name_globs=("same*",)))
    assert others["status"] == "complete"
    own = await run_load(target, root, mapping, selection=Selection(name_globs=("big 7*",)))
    assert [failure["name"] for failure in own["failures"]] == ["big 7.bin"]


async def test_what_was_sent_just_now_and_is_missing_is_not_sent_again_yet(loaded):
    root, source, target, mapping = loaded
    sent = target.uploads
    target.remove(next(file.id for file in target.files.values() if file.name == "big 7.bin"))
    await run_load(target, root, mapping)
    soon = await run_load(target, root, mapping, second=1.0)
    assert (soon["status"], target.uploads) == ("incomplete", sent)
    assert ["sent just now" in failure["reason"] for failure in soon["failures"]] == [True]
    assert (await run_load(target, root, mapping))["status"] == "complete"
    assert target.uploads == sent + 1
    assert contents(target, mapping, of_targets=True) == contents(source, mapping, of_targets=False)
