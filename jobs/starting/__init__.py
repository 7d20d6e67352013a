"""What a person needs first: a configuration to start from, and the reference of all keys."""

from migrator.jobs.starting.configuration import Written, compose, file_name_for
from migrator.jobs.starting.nights import night_files
from migrator.jobs.starting.reference import reference
from migrator.jobs.starting.sections import add_section, section

__all__ = ["Written", "add_section", "compose", "file_name_for", "night_files", "reference", "section"]
