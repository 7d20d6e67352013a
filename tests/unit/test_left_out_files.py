"""Files that an option of the tracker leaves out are no longer looked for: that doesn't make them gone."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from migrator.errors import NotExposedError
from migrator.trackers.memory import MemorySource
from tests.support.parts import rows, run_backup, small_tracker

OLD = "old:"


class WithOldImages(MemorySource):
    """Lists files with ids of their own, unless they are left out; the first of them can't be fetched."""

    def __init__(self, tracker, *, skips):
        super().__init__(tracker)
        self._skips = skips
        self.capabilities = replace(self.capabilities, left_out_ids=(OLD,) if skips else ())

    async def read(self, stream, cursor):
        page = await super().read(stream, cursor)
        files = [file for file in page.attachments if not (self._skips and file.id.startswith(OLD))]
        return replace(page, attachments=tuple(files))

    async def download(self, attachment, sink):
        if attachment.id == f"{OLD}1":
            raise NotExposedError("only for a browser")
        await super().download(attachment, sink)


def old_images(tracker):
    """Two files with such ids on the first bug."""
    owner = next(ref for ref in tracker.entities if ref.kind == "Bug")
    for number in (1, 2):
        file = tracker.attach(owner, f"image {number}.png", b"image")
        old = replace(tracker.files.pop(file.id), id=f"{OLD}{number}")
        tracker.files[old.id], tracker.content[old.id] = old, tracker.content.pop(file.id)


def statuses(root):
    """The status and reason of each such file."""
    return rows(root, f"SELECT status, error FROM attachments WHERE attachment_id LIKE '{OLD}%' ORDER BY attachment_id")


async def test_files_that_an_option_leaves_out_are_skipped_and_not_gone(tmp_path):
    tracker = small_tracker()
    old_images(tracker)
    first = await run_backup(None, tmp_path, source=WithOldImages(tracker, skips=False))
    assert (first["status"], first["attachments"]["failed"]) == ("incomplete", 1)
    for _ in range(2):
        summary = await run_backup(None, tmp_path, source=WithOldImages(tracker, skips=True))
        assert (summary["status"], summary["attachments"]["gone"], summary["changes"]["removed"]) == ("complete", 0, 0)
        assert statuses(tmp_path) == [("skipped", None), ("stored", None)]
    again = await run_backup(None, tmp_path, source=WithOldImages(tracker, skips=False))
    assert (again["status"], again["attachments"]["failed"]) == ("incomplete", 1)
    assert [status for status, _ in statuses(tmp_path)] == ["failed", "stored"]


async def test_what_is_left_out_does_not_wait_for_a_stopped_backup(tmp_path):
    tracker = small_tracker()
    old_images(tracker)
    await run_backup(None, tmp_path, source=WithOldImages(tracker, skips=False))
    await run_backup(None, tmp_path, source=WithOldImages(tracker, skips=True))
    stop = asyncio.Event()
    stop.set()
    await run_backup(None, tmp_path, source=WithOldImages(tracker, skips=True), stop=stop)
    assert statuses(tmp_path)[0] == ("skipped", None)


async def test_other_files_are_gone_as_ever(tmp_path):
    tracker = small_tracker()
    old_images(tracker)
    await run_backup(None, tmp_path, source=WithOldImages(tracker, skips=False))
    tracker.remove(next(id_ for id_, file in tracker.files.items() if file.name == "big 7.bin"))
    summary = await run_backup(None, tmp_path, source=WithOldImages(tracker, skips=True))
    assert summary["attachments"]["gone"] == 1
