"""An embedded Kiwi TCMS."""

from migrator.sandbox.kiwi.app import KiwiSandbox

__all__ = ["KiwiSandbox"]
