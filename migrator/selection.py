"""What a person picks of an archive or a tracker: kinds, entities, names, sizes, dates, and how many entities.

The one idea: `Selection` is a value and judges one file at a time; `Selector` counts entities on top of it. Backup and
load use the same two.
The one trap: what a tracker doesn't tell can't be held against a file: an unknown size or date passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from difflib import get_close_matches
from fnmatch import fnmatchcase

from migrator.errors import ConfigError
from migrator.model import NOBODY, UNLINKED, Attachment, EntityRef


@dataclass(frozen=True, slots=True)
class Selection:
    """All of it by default. Within one field any of its values will do; every field that is set must agree.

    `entities` have an empty kind where any kind will do. `name_globs` don't look at upper and lower case. Sizes are
    in bytes, both ends included. `since` compares with the date of the file; without an offset it is UTC. `limit` is
    the number of entities, those with wanted files, in the order in which they come.
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
        """The same text for the same selection in any process."""
        sets = sorted(self.kinds), sorted((ref.kind, ref.id) for ref in self.entities), sorted(self.name_globs)
        return repr((*sets, self.min_size, self.max_size, self.since, self.limit))

    def wants_entity(self, ref: EntityRef) -> bool:
        """Whether files of this entity may be wanted."""
        named = not self.entities or ref in self.entities or EntityRef("", ref.id) in self.entities
        return named and (not self.kinds or ref.kind in self.kinds)

    def wants(self, attachment: Attachment) -> bool:
        """Whether this file is wanted; `limit` is not asked."""
        return (
            self.wants_entity(attachment.owner)
            and (not self.name_globs or any(_fits(attachment.name, glob) for glob in self.name_globs))
            and _within(attachment.size, self.min_size, self.max_size)
            and not (self.since and _before(attachment.created_at, self.since))
        )


EVERYTHING = Selection()


def expect_kinds(wanted: Iterable[str], known: Sequence[str], where: str) -> None:
    """`ConfigError` for a kind that no entity of this tracker can have; `known` empty: nobody can tell."""
    for kind in wanted:
        if known and kind not in {*known, UNLINKED}:
            near = get_close_matches(kind, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(known))}"
            raise ConfigError(f"{where}: this tracker has no kind {kind!r}; {hint}")


@dataclass(slots=True)
class Selector:
    """Takes files that a selection wants, of its first `limit` entities; `taken` are those so far, if it counts.

    `kinds` are those of the configuration, none for all; what nothing owns passes there, as its owner may be found.
    """

    selection: Selection
    kinds: frozenset[str] = frozenset()
    taken: set[EntityRef] = field(default_factory=set)

    @property
    def full(self) -> bool:
        """Whether no further entity is taken."""
        return self.selection.limit is not None and len(self.taken) >= self.selection.limit

    def takes(self, attachment: Attachment) -> bool:
        """Whether this file is wanted and its entity among those taken; takes it if there is room."""
        owner = attachment.owner
        if not (self._is_kind(owner) and self.selection.wants(attachment)):
            return False
        if self.selection.limit is None or owner in self.taken:
            return True
        if owner == NOBODY or self.full:
            return False
        self.taken.add(owner)
        return True

    def may_take(self, ref: EntityRef) -> bool:
        """Whether files of this entity may be taken."""
        wanted = self._is_kind(ref) and self.selection.wants_entity(ref)
        return wanted and (not self.full or ref in self.taken)

    def _is_kind(self, ref: EntityRef) -> bool:
        return not self.kinds or ref.kind in self.kinds or ref.kind == UNLINKED


def _fits(name: str, glob: str) -> bool:
    return fnmatchcase(name.casefold(), glob.casefold())


def _within(size: int | None, low: int | None, high: int | None) -> bool:
    return size is None or ((low is None or size >= low) and (high is None or size <= high))


def _before(told: str, since: datetime) -> bool:
    try:
        at = datetime.fromisoformat(told)
    except ValueError:
        return False
    return aware(at) < aware(since)


def aware(at: datetime) -> datetime:
    """The same, in UTC where no offset was told."""
    return at if at.tzinfo else at.replace(tzinfo=UTC)
