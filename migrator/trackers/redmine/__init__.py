"""Redmine as source and as target."""
