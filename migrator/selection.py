"""Which files a run takes: by kind, entity, name, size and date, and of how many entities.

`Selection` judges one file at a time; `Selector` also counts entities. Backup and load use the same two.

Beware: what a tracker doesn't report can't exclude a file, so a file of unknown size or date passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from migrator.errors import ConfigError
from migrator.hints import did_you_mean
from migrator.model import NOBODY, UNLINKED, Attachment, EntityRef


@dataclass(frozen=True, slots=True)
class Selection:
    """A file must match one value of each field that is set; by default none is, so every file is wanted.

    `entities` with an empty kind match any kind. `name_globs` ignore case. Sizes are in bytes, inclusive. `since` is
    compared with the date of the file; without an offset it is UTC. `limit` is the number of entities with wanted
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
        """Whether it may leave anything out."""
        return self != EVERYTHING

    @property
    def filters(self) -> bool:
        """Whether it may leave anything out but by its limit."""
        return replace(self, limit=None) != EVERYTHING

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
            and (not self.name_globs or any(_matches(attachment.name, glob) for glob in self.name_globs))
            and _within(attachment.size, self.min_size, self.max_size)
            and not (self.since and _before(attachment.created_at, self.since))
        )

    def wants_named(self, owner: EntityRef, name: str | None) -> bool:
        """Whether a file of this entity may be wanted of which only the name is known; None: not even that."""
        globs = self.name_globs if name is not None else ()
        return self.wants_entity(owner) and (not globs or any(_matches(name or "", glob) for glob in globs))


EVERYTHING = Selection()
"""The selection that wants every file."""


def require_known_kinds(wanted: Iterable[str], known: Sequence[str], where: str) -> None:
    """`ConfigError` for a kind that this tracker doesn't have; if `known` is empty, any kind may exist."""
    for kind in wanted:
        if known and kind not in {*known, UNLINKED}:
            hint = did_you_mean(kind, sorted(known), "there are")
            raise ConfigError(f"{where}: this tracker has no kind {kind!r}; {hint}")


@dataclass(slots=True)
class Selector:
    """Applies a selection to files one after the other; `selected` are the entities so far, if their number is limited.

    `kinds` are those of the configuration; if empty, any kind. Files without an owner pass, because it may still be
    found.
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
        if not (self._is_configured_kind(owner) and self.selection.wants(attachment)):
            return False
        if self.selection.limit is None or owner in self.selected:
            return True
        if owner == NOBODY or self.exhausted:
            return False
        self.selected.add(owner)
        return True

    def may_select(self, ref: EntityRef) -> bool:
        """Whether files of this entity may be selected."""
        wanted = self._is_configured_kind(ref) and self.selection.wants_entity(ref)
        return wanted and (not self.exhausted or ref in self.selected)

    def _is_configured_kind(self, ref: EntityRef) -> bool:
        return not self.kinds or ref.kind in self.kinds or ref.kind == UNLINKED


def _matches(name: str, glob: str) -> bool:
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
