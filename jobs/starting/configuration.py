"""A commented configuration for one tracker, or for two: what `migrator init` writes.

It is put together from what the adapters and the sections of the configuration say about themselves, so it has every
option there is, with its default. The files in `sample_configs` for a tracker or a pair are made here, too.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, replace

from migrator.config import (
    Limits,
    MappingSection,
    NightlySection,
    NotifySection,
    RetentionSection,
    SourceSection,
    TargetSection,
)
from migrator.jobs.starting.described import Key, keys_of_options, keys_of_section, toml
from migrator.trackers import Adapter, Guide, adapter

WIDTH = 118
"""Columns of a line at most."""
NOTE_COLUMN = 42
"""The column in which a note begins, unless the line before it is longer."""
SECTION_KEYS = ("tracker", "url", "auth", "download_auth", "options", "tls", "proxy", "proxy_auth")
"""Keys of [source] and [target] that have a place of their own, or none: what few need is in the reference."""


@dataclass(frozen=True, slots=True)
class Written:
    """A configuration, and the environment variables that it wants to be set."""

    text: str
    variables: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Side:
    """One of the trackers: `where` is `source` or `target`, `prefix` begins the names of its variables."""

    where: str
    tracker: str
    adapter: Adapter
    prefix: str

    @property
    def guide(self) -> Guide:
        return self.adapter.guide

    @property
    def name(self) -> str:
        return self.guide.name or self.tracker.capitalize()


def compose(source: str, target: str | None, file_name: str) -> Written:
    """The configuration for a backup of `source`, or for a migration to `target`. `file_name` is for its comments."""
    sides = [_side("source", source, "OLD_" if source == target else "")]
    sides += [_side("target", target, "NEW_" if source == target else "")] if target else []
    lines = [*_head(sides, file_name), "", *_entry("archive", "archive", note="holds the files of one source")]
    for side in sides:
        lines += _tracker(side)
    lines += _mapping() if target else []
    sections = (("limits", Limits), ("retention", RetentionSection), ("nightly", NightlySection))
    for name, model in (*sections, ("notify", NotifySection)):
        if name == "limits" or not target:
            lines += ["", f"[{name}]", *_optional(keys_of_section(model))]
    variables = tuple(_variable(side, key) for side in sides for key in side.adapter.auth[0] if key != "username")
    return Written("\n".join(lines) + "\n", variables)


def file_name_for(source: str, target: str | None) -> str:
    """The name of a new configuration."""
    return f"{source}-to-{target}.toml" if target else f"{source}-backup.toml"


def _side(where: str, tracker: str, before: str) -> _Side:
    parts = adapter(tracker)
    return _Side(where, tracker, parts, before + (parts.guide.prefix or tracker.upper()))


def _variable(side: _Side, key: str) -> str:
    return f"{side.prefix}_{key.upper()}"


def _head(sides: list[_Side], file_name: str) -> list[str]:
    names = [side.name for side in sides]
    what = f"A migration from {names[0]} to {names[1]}." if len(names) > 1 else f"A backup of {names[0]}."
    commands = ["check", "backup"]
    commands += ["map", "load --dry-run", "load"] if len(names) > 1 else []
    return [
        *_comment(what),
        "#",
        *(f"#     migrator {' '.join([command.split()[0], file_name, *command.split()[1:]])}" for command in commands),
        "#",
        *_comment(
            "Lines that begin with # are optional, and show the default or an example. `migrator init --reference` has "
            "all keys: proxies and certificates, too."
        ),
    ]


def _tracker(side: _Side) -> list[str]:
    guide, where = side.guide, side.where
    notes = guide.source_notes if where == "source" else guide.target_notes
    lines = [""]
    for note in notes:
        lines += [*_comment(note)]
    lines += [f"[{where}]", *_entry("tracker", side.tracker)]
    lines += _entry("url", guide.url or f"https://{side.tracker}.example.org", note=guide.url_note)
    lines += _optional(_section_keys(side))
    lines += ["", *_auth(side)]
    if where == "source" and guide.files_note:
        lines += ["", f"# [{where}.download_auth]"]
        lines = [*lines[:-1], *_with_note(lines[-1], guide.files_note)]
        lines += [line for key in side.adapter.auth[0] for line in _credential(side, key, off=True, notes=False)]
    if keys := [key for key in keys_of_options(side.adapter.options, guide.examples) if key.side in {"", where}]:
        given = guide.source_set if where == "source" else guide.target_set
        lines += ["", f"[{where}.options]"]
        for key in keys:
            if key.name in given:
                lines += _with_note(f"{key.name} = {toml(given[key.name])}", key.text)
            else:
                lines += _optional([key])
    return lines


def _section_keys(side: _Side) -> list[Key]:
    keys = keys_of_section(SourceSection if side.where == "source" else TargetSection)
    known = side.adapter.capabilities.kinds
    kinds = toml(side.guide.kinds or known[:2])
    keys = [replace(key, example=kinds) if key.name == "kinds" else key for key in keys]
    return [key for key in keys if key.name not in SECTION_KEYS and not (key.name == "kinds" and len(known) == 1)]


def _auth(side: _Side) -> list[str]:
    """The first of the ways to log in, and the others behind a #."""
    first, *others = side.adapter.auth
    lines = [f"[{side.where}.auth]"]
    if others:
        lines = _with_note(lines[0], f"or instead: {'; '.join(' and '.join(keys) for keys in others)}")
    for key in first:
        lines += _credential(side, key, off=False)
    for keys in others:
        for key in keys:
            lines += _credential(side, key, off=True)
    return lines


def _credential(side: _Side, key: str, *, off: bool, notes: bool = True) -> list[str]:
    """A key of the credentials. A secret comes from the environment."""
    note = side.guide.auth_notes.get(key, "") if notes else ""
    if key == "username":
        return _entry(key, side.guide.username, note=note, off=off)
    if key in side.adapter.auth[0] and notes and not note:
        note = f'or {{ file = "{key}.txt" }}, or {{ keyring = "{side.tracker}" }}'
    return _entry(key, {"env": _variable(side, key)}, note=note, off=off)


def _mapping() -> list[str]:
    keys = keys_of_section(MappingSection)
    first = ["", "[mapping]"]
    for key in keys:
        line = f"{key.name} = {key.example}"
        first += _with_note(line if key.name != "create_missing" else f"# {line}", key.text)
    return first


def _optional(keys: Iterable[Key]) -> list[str]:
    """Keys that may be left out, each behind a #."""
    return [line for key in keys for line in _with_note(f"# {key.name} = {key.example}", key.text)]


def _entry(key: str, value: object, *, note: str = "", off: bool = False) -> list[str]:
    return _with_note(f"{'# ' if off else ''}{key} = {toml(value)}", note)


def _with_note(line: str, note: str) -> list[str]:
    """A line with a note behind it, which goes on below itself. A line that is long has its note above."""
    if not note:
        return [line]
    if len(line) > NOTE_COLUMN + 16:
        return [*_comment(note), line]
    column = max(NOTE_COLUMN, len(line) + 2)
    first, *rest = textwrap.wrap(note, WIDTH - column - 2, break_on_hyphens=False)
    return [f"{line:{column}}# {first}", *(f"{'':{column}}# {text}" for text in rest)]


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, WIDTH - 2, break_on_hyphens=False)]
