"""An embedded TeamPulse."""

from migrator.sandbox.teampulse.app import TeamPulseSandbox

__all__ = ["TeamPulseSandbox"]
