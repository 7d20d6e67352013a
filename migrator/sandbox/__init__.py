"""Embedded trackers on the loopback interface: for rehearsals, for the demo, and for tests.

There is one made-up world (`world`), which each tracker presents in its own terms and with its own quirks. Each is a
`Sandbox` (`server.py`), which serves the tracker and injects faults; it has the `TrackerState` and the handlers of its
requests.

Beware: the sandboxes share no code with the adapters. But a mistake in what both assume of a tracker goes unnoticed.
"""

from migrator.sandbox.faults import Faults
from migrator.sandbox.issuetrak import IssuetrakSandbox
from migrator.sandbox.kiwi import KiwiSandbox
from migrator.sandbox.redmine import RedmineSandbox
from migrator.sandbox.roundup import RoundupSandbox
from migrator.sandbox.rt import RtSandbox
from migrator.sandbox.server import Sandbox
from migrator.sandbox.squash import SquashSandbox
from migrator.sandbox.targetprocess import TargetprocessSandbox
from migrator.sandbox.teampulse import TeamPulseSandbox
from migrator.sandbox.trac import TracSandbox
from migrator.sandbox.world import RealEntity, RealFile, Words, World, world_like

__all__ = [
    "SANDBOXES",
    "Faults",
    "RealEntity",
    "RealFile",
    "Sandbox",
    "TargetprocessSandbox",
    "TeamPulseSandbox",
    "Words",
    "World",
    "world_like",
]


SANDBOXES: dict[str, type[Sandbox]] = {
    "squash": SquashSandbox,
    "issuetrak": IssuetrakSandbox,
    "kiwi": KiwiSandbox,
    "redmine": RedmineSandbox,
    "roundup": RoundupSandbox,
    "targetprocess": TargetprocessSandbox,
    "teampulse": TeamPulseSandbox,
    "rt": RtSandbox,
    "trac": TracSandbox,
}
