"""Behaviour around any `Source` or `Target`; each layer is one itself."""

from migrator.layers.dry_run import DryRunTarget
from migrator.layers.restoring import RestoreTarget
from migrator.layers.retry import RetryingSource, RetryingTarget, RetryPolicy
from migrator.layers.verify import ParanoidSource, VerifiedSource

__all__ = [
    "DryRunTarget",
    "ParanoidSource",
    "RestoreTarget",
    "RetryPolicy",
    "RetryingSource",
    "RetryingTarget",
    "VerifiedSource",
]
