"""An embedded Roundup."""

from migrator.sandbox.roundup.app import RoundupSandbox

__all__ = ["RoundupSandbox"]
