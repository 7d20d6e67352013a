"""Issuetrak as source and as target."""
