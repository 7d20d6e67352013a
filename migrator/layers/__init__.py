"""Behaviour around any `Source` or `Target`; each layer is one itself."""

from migrator.layers.dry_run import DryRunTarget
from migrator.layers.login import Login
from migrator.layers.restoring import RestoreTarget
from migrator.layers.retry import RetryingSource, RetryingTarget
from migrator.layers.retry_policy import MAX_FIRST_RETRIES, RetryPolicy
from migrator.layers.verify import ParanoidSource, VerifiedSource

__all__ = [
    "MAX_FIRST_RETRIES",
    "DryRunTarget",
    "Login",
    "ParanoidSource",
    "RestoreTarget",
    "RetryPolicy",
    "RetryingSource",
    "RetryingTarget",
    "VerifiedSource",
]
