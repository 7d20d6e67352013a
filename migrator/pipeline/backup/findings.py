"""What a backup finds that belongs to no file or entity: unreadable listings, and oddities of the source."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from migrator.errors import TrackerUnreachableError
from migrator.hints import did_you_mean
from migrator.model import UNLINKED, Entity, EntityRef
from migrator.pipeline.summary import LISTING_OF
from migrator.progress import Progress
from migrator.selection import Selection
from migrator.store import Catalog, Crawl, Vanished
from migrator.units import counted

MAX_WARNINGS = 100


@dataclass(slots=True)
class Seen:
    """What a run with filters saw of the source, as it records only a part of it: to say what there is if they match
    nothing.

    `whole`: the run has read every page itself. Once a file `matched`, entities are no longer counted.
    """

    whole: bool = False
    matched: bool = False
    kinds: set[str] = field(default_factory=set)
    _entities: set[int] = field(default_factory=set)

    def add(self, entities: Iterable[Entity]) -> None:
        """Entities of a page, each of which may come again."""
        for entity in entities:
            self.kinds.add(entity.ref.kind)
            if not self.matched:
                self._entities.add(hash(entity.ref))  # of a million, this is all that has to be kept

    def match(self) -> None:
        """The filters match a file."""
        self.matched = True
        self._entities.clear()

    @property
    def entities(self) -> int:
        """How many there were, if nothing matched."""
        return len(self._entities)


class Findings:
    """The findings of one run. `answered`: some listing could be read. `unread`: why others could not, by name.

    `seen` is what a run with filters saw.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.answered = False
        self.seen = Seen()
        self.unread: dict[str, str] = {}
        self.warnings: list[str] = []
        self._others: list[tuple[str, str]] = []

    @property
    def failures(self) -> list[tuple[str, str]]:
        """Name and reason of each, the most telling first."""
        return [*self._others, *((f"{LISTING_OF}{stream}", reason) for stream, reason in self.unread.items())]

    def add_unread(self, stream: str, reason: str) -> None:
        """Add a listing that can't be read, or not to its end."""
        self.unread[stream] = reason
        self._progress.note(f"the listing of {stream} can't be read: {reason}")

    def require_answers(self) -> None:
        """After all listings were tried: `TrackerUnreachableError` if none could be read."""
        if self.unread and not self.answered:
            stream, reason = next(iter(self.unread.items()))
            raise TrackerUnreachableError(f"the listing {stream!r} can't be read: {reason}")

    def warn(self, *texts: str | None) -> None:
        """Add warnings, each only once. `None` is ignored."""
        for text in texts:
            if text and text not in self.warnings and len(self.warnings) < MAX_WARNINGS:
                self.warnings.append(text)

    def judge(
        self, catalog: Catalog, crawl: Crawl, selection: Selection, kinds: Sequence[str], vanished: Vanished
    ) -> None:
        """After the crawl: add what it should have found and did not."""
        if not vanished.believed:
            reason = (
                f"{vanished.files:,} of {counted(vanished.held, 'file')} are no longer listed; none was marked as gone."
                " If they were deleted, run `migrator backup CONFIG --accept-gone`; if not, check what this account "
                "may see"
            )
            self._others.append(("files no longer listed", reason))
        for ref in sorted(selection.entities):
            if not catalog.entities.is_listed(ref, crawl.start):
                self._others.append((f"--entity {_option_text(ref)}", "the tracker lists no such entity"))
        self._warn_of_kinds(catalog, crawl, [*kinds, *sorted(selection.kinds)])
        if selection.filters and self.seen.whole and not (self.seen.matched or self.failures):
            files, entities = catalog.files.count_listed(crawl.start), self.seen.entities
            there = f"{counted(files, 'file')} and {counted(entities, 'entity', 'entities')}"
            kinds_there = f", of the kinds {', '.join(sorted(self.seen.kinds))}" if self.seen.kinds else ""
            self.warn(f"the filters match no file: the tracker lists {there}{kinds_there}")
        if not (self.failures or catalog.entities.count(crawl.start) or catalog.files.count_listed(crawl.start)):
            self.warn("the tracker lists no entity and no file; check what this account may see")

    def _warn_of_kinds(self, catalog: Catalog, crawl: Crawl, kinds: Sequence[str]) -> None:
        unseen = [kind for kind in kinds if kind != UNLINKED and not catalog.entities.has_kind(kind, crawl.start)]
        known = sorted(self.seen.kinds | catalog.entities.kinds(crawl.start)) if unseen else []
        for kind in unseen:
            hint = f"; {did_you_mean(kind, known, 'there are', repr)}" if known else ""
            self.warn(f"no entity of the kind {kind!r} is listed{hint}")


def _option_text(ref: EntityRef) -> str:
    return f"{ref.kind}:{ref.id}" if ref.kind else ref.id
