"""Behaviour around any `Source` or `Target`; each layer is one itself."""

from migrator.layers.retry import DryRunTarget, Patience, RetryingSource, RetryingTarget
from migrator.layers.verify import ParanoidSource, VerifiedSource

__all__ = ["DryRunTarget", "ParanoidSource", "Patience", "RetryingSource", "RetryingTarget", "VerifiedSource"]
