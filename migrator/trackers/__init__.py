"""The registry of trackers: the name in the configuration, and the package that implements it.

A package is imported only when its tracker is used; its `ADAPTER` has all that wiring needs. A new tracker is one line
here (and the other places that .github/CONTRIBUTING.md names).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from migrator.errors import ConfigError
from migrator.model import Attachment
from migrator.ports import Capabilities, Source, Target
from migrator.wire import HttpClient, Signer

__all__ = ["TRACKERS", "Adapter", "adapter"]

TRACKERS: dict[str, str] = {
    "issuetrak": "migrator.trackers.issuetrak",
    "redmine": "migrator.trackers.redmine",
    "squash": "migrator.trackers.squash",
    "targetprocess": "migrator.trackers.targetprocess",
    "teampulse": "migrator.trackers.teampulse",
}


@dataclass(frozen=True, slots=True)
class Adapter:
    """What a tracker's package offers.

    `auth` lists the sets of keys of which [source.auth] must hold one; `signer` makes a signer from them. `options` is
    a frozen dataclass with a default for each field: [source.options] and [target.options]. `capabilities` are those
    that hold with any options; source and target add what depends on options. `listing` lists the entities of a target
    to which files can be added, where `source` would read more than those. `url_of` gives the address at which people
    fetch an attachment, from the tracker's base URL; empty if unknown. `title` is the tracker's name for people;
    by default the name in the configuration, with a capital.
    """

    source: Callable[[HttpClient, Any], Source]
    target: Callable[[HttpClient, Any], Target]
    options: type[Any]
    auth: tuple[tuple[str, ...], ...]
    signer: Callable[[Mapping[str, str]], Signer]
    capabilities: Capabilities
    url_of: Callable[[str, Attachment], str] = lambda _base, _attachment: ""
    listing: Callable[[HttpClient, Any], Source] | None = None
    title: str = ""


def adapter(name: str) -> Adapter:
    """The adapter of a tracker; `ConfigError` for a name that is not in the registry."""
    if name not in TRACKERS:
        raise ConfigError(f"unknown tracker {name!r}; known are {', '.join(sorted(TRACKERS))}")
    implementation: Adapter = import_module(TRACKERS[name]).ADAPTER
    return implementation
