"""The work itself: backup, load, verify. Reads in the order in which things happen."""
