"""Probes: each is tried within the time that is left, and its finding is a line of the check."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from migrator.errors import ItemFailedError
from migrator.pipeline.summary import Check, CheckSummary
from migrator.ports import Capabilities

MINUTES = 2
"""How long the probes of one tracker may take together; what is not tried by then is said."""

Fact = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Finding:
    """What a probe found.

    `means` is a sentence on what that means for a backup or a load. `odd`: a person should know. `fails`: the program
    can't work with that. `facts` hold neither names nor ids nor contents.
    """

    detail: str
    means: str = ""
    odd: bool = False
    fails: bool = False
    facts: Mapping[str, Fact] = field(default_factory=dict)

    def as_check(self, name: str) -> Check:
        """The finding under the name of its probe."""
        warning = True if self.odd and not self.fails else None
        return Check(
            name, ok=not self.fails, warning=warning, detail=self.detail, means=self.means or None, facts=self.facts
        )


Probe = tuple[str, Callable[[], Awaitable[Finding]]]
"""The name of a probe, and the call that tries it; `ItemFailedError` if it doesn't work."""
Note = Callable[[str], None]
"""Is told what is about to be tried."""


async def tried(probes: Sequence[Probe], minutes: float, note: Note) -> tuple[Check, ...]:
    """The findings of all probes, one after the other. Raises errors that end a run, such as refused credentials."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 60 * minutes
    checks = []
    for name, probe in probes:
        note(name)
        if loop.time() >= deadline:
            checks.append(Finding(f"not tried: the {minutes:g} minutes were up", odd=True).as_check(name))
            continue
        try:
            async with asyncio.timeout_at(deadline):
                finding = await probe()
        except TimeoutError:
            finding = Finding(f"did not end within the {minutes:g} minutes", odd=True, facts={"ended": False})
        except ItemFailedError as error:
            facts = {"error": type(error).__name__, "status": error.status}
            finding = Finding(str(error), fails=True, facts=facts)
        checks.append(finding.as_check(name))
    return tuple(checks)


def report_of(summary: CheckSummary, capabilities: Mapping[str, Capabilities], version: str) -> dict[str, object]:
    """What a user can send to us: of each side its tracker, its capabilities, and each check without its sentences."""
    sides: dict[str, object] = {}
    for side, checked in (("source", summary.source), ("target", summary.target)):
        if not isinstance(checked, dict):
            checks = [
                {"check": check.check, "ok": check.ok, "warning": bool(check.warning), "facts": dict(check.facts or {})}
                for check in checked.checks
                if check.facts is not None
            ]
            sides[side] = {
                "tracker": checked.tracker,
                "capabilities": asdict(capabilities[side]),
                "checks": checks,
            }
    return {"migrator": version, **sides}
