"""A night: for each configuration backup, sample of verify, prune, report, metrics, and a message to those who ask."""

from migrator.jobs.nightly.checks import check_nights
from migrator.jobs.nightly.nights import run_nights
from migrator.jobs.nightly.spread import spread_nights
from migrator.jobs.nightly.text import print_nightly

__all__ = ["check_nights", "print_nightly", "run_nights", "spread_nights"]
