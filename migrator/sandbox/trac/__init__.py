"""An embedded Trac."""

from migrator.sandbox.trac.app import TracSandbox

__all__ = ["TracSandbox"]
