"""An embedded Squash TM."""

from migrator.sandbox.squash.app import SquashSandbox

__all__ = ["SquashSandbox"]
