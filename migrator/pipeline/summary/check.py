"""The summary of a check: what was tried, and whether it works."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from migrator.pipeline.summary.base import OPTIONAL, Summary


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried: whether it works, and details. `warning`: it works, but is odd.

    Of a thorough check, `means` is a sentence on what that means for a backup or load, and `facts` are the finding
    without names, ids and contents.
    """

    check: str
    ok: bool
    warning: bool | None = field(default=None, metadata=OPTIONAL)
    detail: str = ""
    means: str | None = field(default=None, metadata=OPTIONAL)
    facts: Mapping[str, str | int | float | bool | None] | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, slots=True)
class CheckedSide:
    """What was tried at one tracker."""

    tracker: str
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSummary(Summary):
    """The result of a check. `target` is an empty object if none is configured; `nightly` is about messages and files
    of a night, and missing if none are configured.
    """

    command = "check"

    source: CheckedSide
    target: CheckedSide | dict[str, object]
    nightly: tuple[Check, ...] | None = field(default=None, metadata=OPTIONAL)
