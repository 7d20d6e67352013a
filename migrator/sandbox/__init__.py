"""Embedded trackers on the loopback interface: to rehearse against, for the demo, and for tests.

The idea: one made-up world (`world.py`), shown by each tracker in its own words and with its own
oddities; faults on demand (`faults.py`).
The trap: they know no adapter and must not; what both sides believe is checked by nobody.
"""

from migrator.sandbox.faults import Faults
from migrator.sandbox.issuetrak import IssuetrakSandbox
from migrator.sandbox.server import Sandbox
from migrator.sandbox.squash import SquashSandbox
from migrator.sandbox.targetprocess import TargetprocessSandbox
from migrator.sandbox.teampulse import TeamPulseSandbox
from migrator.sandbox.world import World

__all__ = ["SANDBOXES", "Faults", "TargetprocessSandbox", "TeamPulseSandbox", "World"]


SANDBOXES: dict[str, type[Sandbox]] = {
    "squash": SquashSandbox,
    "issuetrak": IssuetrakSandbox,
    "targetprocess": TargetprocessSandbox,
    "teampulse": TeamPulseSandbox,
}
