"""Accept: a person says which failures of the backup may stay, such as images that an API never hands out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from migrator.errors import ConfigError
from migrator.model import EntityRef
from migrator.pipeline.summary import AcceptSummary, Failure
from migrator.store import Catalog, FailureKey, FailureRow, key_of


@dataclass(frozen=True, slots=True)
class Choice:
    """Which failures are meant: of these files, of these entities and the files on them, or all.

    An entity with an empty kind is of any kind.
    """

    attachments: tuple[str, ...] = ()
    entities: tuple[EntityRef, ...] = ()
    everything: bool = False

    def among(self, failures: Sequence[FailureRow]) -> list[FailureRow]:
        """Those that are meant; `ConfigError` if a file or an entity that is named has none."""
        chosen, missing = dict[FailureKey, FailureRow](), list[str]()
        for name, wanted in self._wanted():
            found = {key_of(failure): failure for failure in failures if wanted(failure)}
            missing += [] if found or not name else [name]
            chosen |= found
        if missing:
            raise ConfigError(f"nothing fails for {', '.join(missing)}; nothing was changed")
        return [*chosen.values()]

    def _wanted(self) -> Iterator[tuple[str, Callable[[FailureRow], bool]]]:
        """Each part of the choice: its name, empty if it may match nothing, and what it matches."""
        for id_ in self.attachments:
            yield f"attachment {id_}", partial(_is_file, id_)
        for ref in self.entities:
            yield f"entity {ref.kind} {ref.id}".replace("  ", " "), partial(_is_of, ref)
        if self.everything:
            yield "", _is_acceptable


def _is_file(id_: str, failure: FailureRow) -> bool:
    return failure["attachment"] == id_


def _is_of(ref: EntityRef, failure: FailureRow) -> bool:
    return failure["entity"] == ref.id and ref.kind in {"", failure["kind"]}


def _is_acceptable(failure: FailureRow) -> bool:
    return any(key_of(failure))


def accept(catalog: Catalog, choice: Choice) -> AcceptSummary:
    """Accept the failures that are chosen; one that is accepted already stays so. The caller holds the archive."""
    standing, accepted = _failures(catalog)
    chosen = {key_of(failure) for failure in choice.among([*standing, *accepted])}
    new = [failure for failure in standing if key_of(failure) in chosen]
    catalog.ensure_journal()
    catalog.accepted.accept(new)
    return accepted_failures(catalog, len(new))


def withdraw(catalog: Catalog, choice: Choice) -> AcceptSummary:
    """Let the failures that are chosen count again. The caller holds the archive."""
    _, accepted = _failures(catalog)
    chosen = [*catalog.accepted.all().by_key] if choice.everything else [*map(key_of, choice.among(accepted))]
    catalog.ensure_journal()
    catalog.accepted.withdraw(chosen)
    return accepted_failures(catalog, len(chosen))


def accepted_failures(catalog: Catalog, changed: int = 0) -> AcceptSummary:
    """What is accepted, and what counts. Reads only."""
    standing, accepted = _failures(catalog)
    return AcceptSummary(
        changed=changed,
        failures=tuple(map(Failure.of_row, standing)),
        accepted=tuple(map(Failure.of_row, accepted)),
    )


def _failures(catalog: Catalog) -> tuple[list[FailureRow], list[FailureRow]]:
    return catalog.accepted.all().split(catalog.summaries.failures())
