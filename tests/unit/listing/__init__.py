"""Trackers that change while they are read, and the truth about what was there all the time."""
