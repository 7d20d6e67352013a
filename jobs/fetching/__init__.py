"""Fetch workers: processes that fetch batches of files for a backup."""

from migrator.jobs.fetching.pool import fetch_place

__all__ = ["fetch_place"]
