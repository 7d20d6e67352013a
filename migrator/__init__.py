"""Async bulk backup and migration of the attachments of issue trackers.

The rows of the library, lower ones know nothing of higher ones, and pipelines and adapters never meet:

    jobs                           the command line: the only place that knows every module
    pipeline/ adapters/ sandbox    the work; what each tracker means by its answers; embedded trackers
    layers verified bodies http archive catalog    behaviour around the port; the wire; files; SQLite
    ports disk tls pacing gate auth paging hal mapping config progress
    model errors                   the words

Start reading at `ports.py`, then `pipeline/backup.py`.
"""

__version__ = "0.1.0"
