"""The settings of a load."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from migrator.mapping import Mapping, NewRow, Rows
from migrator.pipeline.run import DRY_RUN
from migrator.selection import EVERYTHING, Selection


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """The settings of a load. `identity` names the target.

    `create_missing` creates a stub for each entity without a row, enters it in `mapping` and gives it to `add_rows`.
    `rows` are the rows of the mapping file, if there is one; `source_kinds` are all kinds that the source can have.
    `restores`: the target is the archive's own source, and the mapping sends what that lost back to where it was.
    `accept_gone`: what earlier loads sent and is not at the target any more is sent again, however much it is.
    `strict`: files without a row, and rows that match nothing, make the run incomplete.

    `look_again` is the length of a second in all waits for an upload, `second` that of a second in its age (default:
    the same). Tests shorten them.
    """

    identity: str
    mapping: Mapping
    uploads: int = 4
    provenance: bool = True
    dry_run: bool = False
    verify_content: bool = False
    look_again: float = 1.0
    selection: Selection = EVERYTHING
    create_missing: bool = False
    add_rows: Callable[[Sequence[NewRow]], object] | None = None
    rows: Rows | None = None
    source_kinds: tuple[str, ...] = ()
    strict: bool = False
    second: float | None = None
    restores: bool = False
    accept_gone: bool = False

    @property
    def side(self) -> str:
        """What messages call the tracker that is written."""
        return "source" if self.restores else "target"

    @property
    def command(self) -> str:
        """What messages call the next run."""
        return "restore" if self.restores else "load"

    @property
    def run_name(self) -> str:
        """The name of its run in the catalog: a rehearsal has one of its own."""
        return f"{self.command}{DRY_RUN}" if self.dry_run else self.command

    @property
    def creates(self) -> bool:
        """Whether missing entities are created: never with a selection, which may leave out all of their files."""
        return self.create_missing and not self.selection.partial
