"""The memory tracker with known content, for the contracts: bare here, inside layers in tests/unit/test_layers.py."""

from __future__ import annotations

import hashlib

from migrator.model import NOBODY, Draft, Entity, EntityRef, Link
from migrator.ports import Source, Target
from migrator.testing import SAMPLES, BoundSource, BoundTarget, Expected, Truth
from migrator.trackers.memory import MemorySource, MemoryTarget, MemoryTracker


def seeded(tracker: MemoryTracker) -> tuple[list[EntityRef], list[Expected]]:
    """Entities on both streams, the samples on them, a file of nobody and one that a link gives an owner."""
    refs = [tracker.add(kind) for kind in ("Bug", "Story", "Bug", "Story", "Bug", "Story", "Bug")]
    if tracker.capabilities.dates_changes:
        tracker.modified = dict.fromkeys(refs, "2024-02-03T04:05:06Z")
    files = []
    for sample in SAMPLES:
        tracker.attach(
            refs[sample.entity],
            sample.name,
            sample.content,
            description=sample.description,
            media_type=sample.media_type,
            created_at="2024-02-03T04:05:06+01:00",
        )
        files.append(Expected.of(refs[sample.entity], sample.name, sample.content, sample.description))
    tracker.attach(NOBODY, "loose.txt", b"nobody's")
    linked = tracker.attach(NOBODY, "linked.txt", b"from a comment")
    tracker.links.append(Link(linked.id, refs[4]))
    files += [Expected.of(NOBODY, "loose.txt", b"nobody's"), Expected.of(refs[4], "linked.txt", b"from a comment")]
    return refs, files


def bound_source(tracker: MemoryTracker, wrap=lambda source: source) -> BoundSource:
    """`wrap` puts layers around the source."""
    refs, files = seeded(tracker)
    gone = tracker.attach(refs[0], "gone.txt", b"gone")
    tracker.remove(gone.id)

    def build() -> Source:
        return wrap(MemorySource(tracker))

    def attach(ref: EntityRef) -> None:
        tracker.attach(ref, "new.txt", b"new")
        tracker.modified[ref] = "2026-01-02T03:04:05Z"

    missing = Entity(EntityRef("Story", "404"))
    return BoundSource(build(), build, set(refs), files, gone=gone, missing=missing, attach=attach)


def bound_target(tracker: MemoryTracker, wrap=lambda target: target) -> BoundTarget:
    """`wrap` puts layers around the target."""
    refs, _ = seeded(tracker)
    gone = tracker.attach(refs[0], "gone.txt", b"gone")
    tracker.remove(gone.id)

    async def files_of(ref: EntityRef) -> list[Truth]:
        return [
            (f.name, len(tracker.content[f.id]), hashlib.sha256(tracker.content[f.id]).hexdigest(), f.description)
            for f in tracker.files.values()
            if f.owner == ref
        ]

    def build() -> Target:
        return wrap(MemoryTarget(tracker))

    illegal = Draft("a/b.txt", "text/plain", "", 1)
    missing = EntityRef("Bug", "404")
    return BoundTarget(build(), build, refs[0], missing, files_of, gone=gone, refused_drafts=(illegal,))
