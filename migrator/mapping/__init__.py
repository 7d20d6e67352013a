"""Which target entity each source entity becomes: the mapping file, and the rules that propose its rows."""

from migrator.mapping.file import Mapping, NewRow, Rows, add_rows, read_mapping, read_rows, replace_file
from migrator.mapping.match import Index, Match, Rule, field_of, match, parse_rule

__all__ = [
    "Index",
    "Mapping",
    "Match",
    "NewRow",
    "Rows",
    "Rule",
    "add_rows",
    "field_of",
    "match",
    "parse_rule",
    "read_mapping",
    "read_rows",
    "replace_file",
]
