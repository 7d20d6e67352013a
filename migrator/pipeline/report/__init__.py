"""The report on an archive and its targets, as a page, a table or a document."""

from migrator.pipeline.report.data import UrlOf
from migrator.pipeline.report.writers import report

__all__ = ["UrlOf", "report"]
