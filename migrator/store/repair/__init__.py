"""A catalog held against its journal, and made anew from it."""
