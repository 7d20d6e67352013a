"""An embedded Targetprocess."""

from migrator.sandbox.targetprocess.app import TargetprocessSandbox

__all__ = ["TargetprocessSandbox"]
