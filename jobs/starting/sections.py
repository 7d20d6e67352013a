"""Sections of a configuration for a tracker whose address and credentials are known, such as a sandbox."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

from migrator.errors import ConfigError, StorageError
from migrator.jobs.starting.described import toml


def section(
    where: str, tracker: str, url: str, auth: Mapping[str, str], options: Mapping[str, object] | None = None
) -> str:
    """[source] or [target] with its credentials in plain text and its options, ready to be pasted."""
    lines = [f"[{where}]", f"tracker = {toml(tracker)}", f"url = {toml(url)}"]
    for name, values in (("auth", auth), ("options", options)):
        if values:
            lines += ["", f"[{where}.{name}]", *(f"{key} = {toml(value)}" for key, value in values.items())]
    return "\n".join(lines) + "\n"


def add_section(path: Path, where: str, text: str) -> None:
    """Write a new configuration with this section, or add the section to one that lacks it.

    Nothing that the file has is changed; `ConfigError` if it has the section already or is not TOML.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(f'archive = "archive"\n\n{text}')
    except FileExistsError:
        _append(path, where, text)
    except OSError as error:
        raise StorageError(f"{path} can't be written: {error.strerror}") from error


def _append(path: Path, where: str, text: str) -> None:
    try:
        present = path.read_text(encoding="utf-8-sig")
        if where in tomllib.loads(present):
            raise ConfigError(f"{path} has a [{where}] already, and is left as it is")
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{'' if present.endswith(chr(10)) else chr(10)}\n{text}")
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} exists already and is not a configuration: {error}") from None
    except OSError as error:
        raise StorageError(f"{path} can't be written: {error.strerror}") from error
