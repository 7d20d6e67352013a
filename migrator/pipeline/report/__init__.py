"""What a run did, as a document: its data, the files, the HTML page."""

from migrator.pipeline.report.data import UrlOf
from migrator.pipeline.report.writers import report

__all__ = ["UrlOf", "report"]
