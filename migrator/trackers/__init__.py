"""The registry of trackers: the name in the configuration, and the package that implements it.

A package is imported only when its tracker is used; its `ADAPTER` has all that wiring needs. A new tracker is one line
here (and the other places that .github/CONTRIBUTING.md names), or an entry point of another distribution, in the group
`migrator.trackers`:

    [project.entry-points."migrator.trackers"]
    helpdesk = "migrator_helpdesk:ADAPTER"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from migrator.errors import ConfigError
from migrator.model import Attachment
from migrator.ports import Capabilities, Source, Target
from migrator.trackers.guide import Guide
from migrator.wire import HttpClient, Signer

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint, EntryPoints

__all__ = ["ENTRY_POINTS", "PORT_VERSION", "TRACKERS", "Adapter", "Guide", "adapter", "tracker_names"]

PORT_VERSION = (1, 0)
"""The version of the port that adapters of other distributions implement.

It covers `Adapter`, `migrator.ports`, `migrator.model`, `migrator.errors`, `migrator.wire`,
`migrator.trackers.toolbox`, and `migrator.testing` for their tests. The second number grows when something is added
that an adapter may leave out, the first when adapters have to be changed.
"""
ENTRY_POINTS = "migrator.trackers"
"""The group of entry points in which other distributions offer their adapters."""

TRACKERS: dict[str, str] = {
    "issuetrak": "migrator.trackers.issuetrak",
    "kiwi": "migrator.trackers.kiwi",
    "redmine": "migrator.trackers.redmine",
    "roundup": "migrator.trackers.roundup",
    "rt": "migrator.trackers.rt",
    "squash": "migrator.trackers.squash",
    "targetprocess": "migrator.trackers.targetprocess",
    "teampulse": "migrator.trackers.teampulse",
    "trac": "migrator.trackers.trac",
}


@dataclass(frozen=True, slots=True)
class Adapter:
    """What a tracker's package offers.

    `auth` lists the sets of keys of which [source.auth] must hold one; `signer` makes a signer from them. `options` is
    a frozen dataclass with a default for each field: [source.options] and [target.options]. `capabilities` are those
    that hold with any options; source and target add what depends on options. `listing` lists the entities of a target
    to which files can be added, where `source` would read more than those. `url_of` gives the address at which people
    fetch an attachment, from the tracker's base URL; empty if unknown. `port` is the PORT_VERSION for which an adapter
    of another distribution was written. `guide` is what `migrator init` says about it.
    """

    source: Callable[[HttpClient, Any], Source]
    target: Callable[[HttpClient, Any], Target]
    options: type[Any]
    auth: tuple[tuple[str, ...], ...]
    signer: Callable[[Mapping[str, str]], Signer]
    capabilities: Capabilities
    url_of: Callable[[str, Attachment], str] = lambda _base, _attachment: ""
    listing: Callable[[HttpClient, Any], Source] | None = None
    port: tuple[int, int] | None = None
    guide: Guide = field(default_factory=Guide)


def tracker_names() -> list[str]:
    """The names of all trackers, those of other distributions among them, sorted. Imports none of them."""
    return sorted({*TRACKERS, *(point.name for point in _entry_points())})


def adapter(name: str) -> Adapter:
    """The adapter of a tracker; another distribution can't replace one of ours.

    `ConfigError` for an unknown name, and for an adapter of another distribution that can't be loaded, was written for
    another version of the port, or has the name of a third one.
    """
    if name in TRACKERS:
        implementation: Adapter = import_module(TRACKERS[name]).ADAPTER
        return implementation
    offered = [point for point in _entry_points() if point.name == name]
    if not offered:
        raise ConfigError(f"unknown tracker {name!r}; choose from {', '.join(tracker_names())}")
    if len(offered) > 1:
        owners = " and ".join(map(_distribution, offered))
        raise ConfigError(f"tracker {name!r} is offered by {owners}; uninstall all but one of them")
    return _from_entry_point(offered[0])


def _entry_points() -> EntryPoints:
    """Beware: `importlib.metadata` takes a fifteenth of a fetch worker's start, and most runs use a tracker of ours."""
    from importlib.metadata import entry_points

    return entry_points(group=ENTRY_POINTS)


def _from_entry_point(point: EntryPoint) -> Adapter:
    what = f"the adapter {point.name!r} of {_distribution(point)}"
    try:
        implementation = point.load()
    except Exception as error:
        raise ConfigError(f"{what} can't be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(implementation, Adapter):
        raise ConfigError(f"{what}: {point.value} is not a migrator.trackers.Adapter")
    major, minor = PORT_VERSION
    if implementation.port is None:
        raise ConfigError(f"{what} doesn't say for which version of the port it was written: port=({major}, {minor})")
    if implementation.port[0] != major or implementation.port[1] > minor:
        written, has = ".".join(map(str, implementation.port)), f"{major}.{minor}"
        raise ConfigError(f"{what} was written for version {written} of the port, and this migrator has {has}")
    return implementation


def _distribution(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else point.value
