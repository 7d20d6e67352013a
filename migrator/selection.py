"""What to take of an archive or a tracker: kinds, entities, names, sizes, dates, and a number of entities.

`Selection` is a value that judges one file at a time; `Selector` adds the counting of entities. Backup and load use the
same two.

Beware: what a tracker doesn't report can't exclude a file, so an unknown size or date passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from migrator.errors import ConfigError
from migrator.hints import did_you_mean
from migrator.model import NOBODY, UNLINKED, Attachment, EntityRef


@dataclass(frozen=True, slots=True)
class Selection:
    """Everything, by default. A file must match all fields that are set, and of each field at least one value.

    `entities` with an empty kind match any kind. `name_globs` ignore case. Sizes are in bytes, inclusive. `since` is
    compared with the date of the file; without an offset it is UTC. `limit` is the number of entities that have wanted
    files, in the order in which they arrive.
    """

    kinds: frozenset[str] = frozenset()
    entities: frozenset[EntityRef] = frozenset()
    name_globs: tuple[str, ...] = ()
    min_size: int | None = None
    max_size: int | None = None
    since: datetime | None = None
    limit: int | None = None

    @property
    def partial(self) -> bool:
        """Whether it leaves anything out."""
        return self != EVERYTHING

    @property
    def key(self) -> str:
        """A text that is the same for equal selections, in any process."""
        sets = sorted(self.kinds), sorted((ref.kind, ref.id) for ref in self.entities), sorted(self.name_globs)
        return repr((*sets, self.min_size, self.max_size, self.since, self.limit))

    def wants_entity(self, ref: EntityRef) -> bool:
        """Whether files of this entity may be wanted."""
        named = not self.entities or ref in self.entities or EntityRef("", ref.id) in self.entities
        return named and (not self.kinds or ref.kind in self.kinds)

    def wants(self, attachment: Attachment) -> bool:
        """Whether this file is wanted, regardless of `limit`."""
        return (
            self.wants_entity(attachment.owner)
            and (not self.name_globs or any(_fits(attachment.name, glob) for glob in self.name_globs))
            and _within(attachment.size, self.min_size, self.max_size)
            and not (self.since and _before(attachment.created_at, self.since))
        )


EVERYTHING = Selection()


def require_known_kinds(wanted: Iterable[str], known: Sequence[str], where: str) -> None:
    """`ConfigError` for a kind that this tracker doesn't have; if `known` is empty, any kind may exist."""
    for kind in wanted:
        if known and kind not in {*known, UNLINKED}:
            hint = did_you_mean(kind, sorted(known), "there are")
            raise ConfigError(f"{where}: this tracker has no kind {kind!r}; {hint}")


@dataclass(slots=True)
class Selector:
    """Selects the files of a selection's first `limit` entities; `selected` are the entities so far, if limited.

    `kinds` are those of the configuration, none for all. Unlinked files pass, because their owner may still be found.
    """

    selection: Selection
    kinds: frozenset[str] = frozenset()
    selected: set[EntityRef] = field(default_factory=set)

    @property
    def exhausted(self) -> bool:
        """Whether the limit is reached."""
        return self.selection.limit is not None and len(self.selected) >= self.selection.limit

    def select(self, attachment: Attachment) -> bool:
        """Whether this file is wanted and its entity is selected; selects the entity if the limit allows it."""
        owner = attachment.owner
        if not (self._is_kind(owner) and self.selection.wants(attachment)):
            return False
        if self.selection.limit is None or owner in self.selected:
            return True
        if owner == NOBODY or self.exhausted:
            return False
        self.selected.add(owner)
        return True

    def may_select(self, ref: EntityRef) -> bool:
        """Whether files of this entity may be selected."""
        wanted = self._is_kind(ref) and self.selection.wants_entity(ref)
        return wanted and (not self.exhausted or ref in self.selected)

    def _is_kind(self, ref: EntityRef) -> bool:
        return not self.kinds or ref.kind in self.kinds or ref.kind == UNLINKED


def _fits(name: str, glob: str) -> bool:
    return fnmatchcase(name.casefold(), glob.casefold())


def _within(size: int | None, low: int | None, high: int | None) -> bool:
    return size is None or ((low is None or size >= low) and (high is None or size <= high))


def _before(date: str, since: datetime) -> bool:
    try:
        moment = datetime.fromisoformat(date)
    except ValueError:
        return False
    return aware(moment) < aware(since)


def aware(moment: datetime) -> datetime:
    """The same date, in UTC if it has no offset."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
