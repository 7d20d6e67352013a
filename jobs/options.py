"""Arguments and options that several commands share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from migrator.jobs.given import configuration_for, is_file, require_backup
from migrator.jobs.terminal import tell
from migrator.model import EntityRef
from migrator.units import parse_share, parse_size

if TYPE_CHECKING:
    from migrator.jobs.place import ArchivePlace

T = TypeVar("T")


def _given(context: click.Context, _parameter: click.Parameter, given: Path) -> Path:
    """The configuration, also where its archive is given. It is kept for the line that says what to run next."""
    found = configuration_for(given)
    context.obj.given = str(found)
    return found


config_argument = click.argument("config", type=click.Path(path_type=Path), callback=_given)
"""CONFIG, or the archive of one that is beside it."""


def place_of(context: click.Context, _parameter: click.Parameter, given: str | None) -> Path | ArchivePlace | None:
    """The folder itself, what lies at an address, or the archive that a configuration names; a folder that a
    configuration names must have been written.
    """
    from migrator.jobs.place import place_named

    if given is None:
        return None
    path = Path(given)
    context.obj.given = given
    if is_file(path):
        from migrator.config import read_configuration

        require_backup(read_configuration(path), path)
    return place_named(given)


archive_argument = click.argument("archive", type=click.Path(), callback=place_of)
"""ARCHIVE: a folder or an address, or the configuration that names it."""

at_option = click.option(
    "--at", default="", metavar="RUN|DATE", help="As it was in this snapshot, or in the last one at that date."
)
"""A date without a time means the end of that day; a time without an offset is local."""

paranoid_option = click.option(
    "--paranoid", is_flag=True, help="Download files of unknown length twice, and compare the two."
)

yes_option = click.option("--yes", is_flag=True, help="Delete without asking. Without a terminal it never asks.")


def require_yes(question: str, *, yes: bool) -> None:
    """Ask on stderr before something is deleted, if this is a terminal; "no" raises `click.Abort` (exit status 130).

    `UsageError` if stdin is a terminal and stderr is not, so that nobody would see the question.
    """
    if yes or not sys.stdin.isatty():
        return
    if not sys.stderr.isatty():
        raise click.UsageError(f"{question} The answer can't be asked for here: stderr is not a terminal; use --yes")
    try:
        click.confirm(question, abort=True, err=True)
    except click.Abort:
        tell("nothing was deleted")
        raise


def size(value: str) -> int:
    """`10 MB`, `512 KiB` or a number of bytes."""
    try:
        return parse_size(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a size; write it like '10 MB', '512 KiB' or 2000") from None


def share(value: str) -> float:
    """`5%` as a number above 0, up to 1."""
    with suppress(ValueError):
        if part := parse_share(value):
            return part
    raise click.BadParameter(f"{value!r} is not a share; write it like 5%")


def date(value: str) -> datetime:
    """ISO 8601, `2024-01-31`, optionally with a time of day and an offset; without one it is UTC."""
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a date; write it like 2024-01-31") from None


def address(value: str) -> str:
    """A tracker's URL, spelled as in the catalog."""
    from migrator.config import address as parse_address

    try:
        return parse_address(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r}: {error}") from None


def entity(value: str) -> EntityRef:
    """`Bug:4711`, or `4711` for any kind; the kind is then empty."""
    kind, _, id_ = value.rpartition(":")
    if not id_:
        raise click.BadParameter(f"{value!r} has no id; write it like Bug:4711")
    return EntityRef(kind, id_)


entity_option = click.option(
    "--entity",
    "entities",
    type=entity,
    multiple=True,
    metavar="[KIND:]ID",
    help="Take only this entity, of any kind if none is given; may be repeated.",
)

_SELECTION = (
    click.option(
        "--limit", type=click.IntRange(1), metavar="N", help="Take only the first N entities that have files."
    ),
    click.option("--kind", "kinds", multiple=True, help="Take only this kind of entity; may be repeated."),
    entity_option,
    click.option(
        "--name-glob", "name_globs", multiple=True, help="Take only names that match, e.g. '*.png'; may be repeated."
    ),
    click.option("--min-size", type=size, help="Take only files of at least this size, e.g. '10 kB'."),
    click.option("--max-size", type=size, help="Take only files of at most this size, e.g. '10 MB'."),
    click.option("--since", type=date, help="Take only files of this date or later, e.g. 2024-01-31."),
)


def selection_options(function: Callable[..., T]) -> Callable[..., T]:
    """Adds the options that select files; the command gets them as one `selection`."""

    @wraps(function)
    def selecting(
        *args: object,
        kinds: tuple[str, ...],
        entities: tuple[EntityRef, ...],
        limit: int | None,
        name_globs: tuple[str, ...],
        min_size: int | None,
        max_size: int | None,
        since: datetime | None,
        **options: object,
    ) -> T:
        from migrator.selection import Selection

        selection = Selection(frozenset(kinds), frozenset(entities), name_globs, min_size, max_size, since, limit)
        return function(*args, selection=selection, **options)

    command: Callable[..., T] = selecting
    for option in reversed(_SELECTION):
        command = option(command)
    return command
