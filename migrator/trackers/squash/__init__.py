"""Squash TM as source and as target."""
