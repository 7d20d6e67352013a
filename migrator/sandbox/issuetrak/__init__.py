"""An embedded Issuetrak."""

from migrator.sandbox.issuetrak.app import IssuetrakSandbox

__all__ = ["IssuetrakSandbox"]
