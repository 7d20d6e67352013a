"""Targetprocess as source and as target."""
