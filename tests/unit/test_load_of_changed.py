"""A load that goes on after the source changed: what was in doubt is settled, and no file is there twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from migrator.model import EntityRef
from migrator.trackers.memory import MemoryTracker
from tests.support.parts import files_on, rows, run_backup, run_load, run_rollback


class KilledError(BaseException):
    """The process ends here."""


class Interrupted:
    """A source with two files, and a target at which a load was killed while it sent the first of them.

    It was killed when the target was called with this verb: `upload` before anything, `uploaded` once it had the file.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.source, self.target = MemoryTracker(), MemoryTracker()
        owner = self.source.add("Bug")
        self.first = self.source.attach(owner, "a.txt", b"first").id
        self.source.attach(owner, "b.txt", b"second")
        self.to = self.target.add("Issue")
        self.mapping: dict[EntityRef, tuple[EntityRef, ...]] = {owner: (self.to,)}

    async def kill(self, verb: str) -> None:
        async def on_call(called: str, _: str) -> None:
            if called == verb:
                raise KilledError

        await self.back_up()
        self.target.on_call = on_call
        with pytest.raises(BaseException) as raised:  # noqa: PT011 - alone or in a group
            await run_load(self.target, self.root, self.mapping, uploads=1)
        assert isinstance(raised.value, KilledError) or raised.group_contains(KilledError)
        self.target.on_call = None
        assert rows(self.root, "SELECT status FROM uploads ORDER BY 1") == [("in_doubt",), ("planned",)]

    async def back_up(self) -> None:
        assert (await run_backup(self.source, self.root, max_gone=None))["status"] == "complete"

    def change(self, content: bytes) -> None:
        self.source.content[self.first] = content
        self.source.files[self.first] = replace(self.source.files[self.first], size=len(content))

    def there(self) -> Counter[tuple[str, bytes]]:
        return Counter((name, content) for name, content, _ in files_on(self.target, self.to).elements())


@pytest.fixture
def world(tmp_path):
    return Interrupted(tmp_path)


@pytest.mark.parametrize(("verb", "arrived"), [("upload", False), ("uploaded", True)])
async def test_what_is_in_doubt_and_lost_at_the_source_is_settled(world, verb, arrived):
    await world.kill(verb)
    world.source.remove(world.first)
    await world.back_up()
    done = await run_load(world.target, world.root, world.mapping)
    assert (done["status"], done["failures"]) == ("complete", [])
    assert world.there() == Counter([("a.txt", b"first")] * arrived + [("b.txt", b"second")])
    assert (await run_rollback(world.target, world.root))["deletions"]["deleted"] == 1 + arrived
    assert not world.there()


async def test_what_arrived_before_the_source_replaced_it_is_not_doubled(world):
    await world.kill("uploaded")
    world.change(b"other content")
    await world.back_up()
    done = await run_load(world.target, world.root, world.mapping)
    assert done["status"] == "complete"
    assert world.there() == {("a.txt", b"first"): 1, ("b.txt", b"second"): 1}
    assert (await run_rollback(world.target, world.root))["deletions"]["deleted"] == 2
    assert not world.there()


async def test_what_never_arrived_is_sent_with_its_present_content(world):
    await world.kill("upload")
    world.change(b"other content")
    await world.back_up()
    done = await run_load(world.target, world.root, world.mapping)
    assert done["status"] == "complete"
    assert world.there() == {("a.txt", b"other content"): 1, ("b.txt", b"second"): 1}


async def test_a_failed_upload_of_a_file_that_is_lost_is_no_failure_for_ever(world):
    await world.back_up()
    world.target.capabilities = replace(world.target.capabilities, max_attachment_bytes=5)
    assert (await run_load(world.target, world.root, world.mapping))["uploads"]["failed"] == 1
    for id_ in list(world.source.files):
        world.source.remove(id_)
    await world.back_up()
    done = await run_load(world.target, world.root, world.mapping)
    assert (done["status"], done["failures"]) == ("complete", [])
    assert world.there() == {("a.txt", b"first"): 1}
