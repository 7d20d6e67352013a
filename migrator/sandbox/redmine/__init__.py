"""An embedded Redmine."""

from migrator.sandbox.redmine.app import RedmineSandbox

__all__ = ["RedmineSandbox"]
