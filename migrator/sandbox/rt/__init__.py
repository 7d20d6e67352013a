"""An embedded Request Tracker."""

from migrator.sandbox.rt.app import RtSandbox

__all__ = ["RtSandbox"]
