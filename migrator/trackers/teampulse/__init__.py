"""Telerik TeamPulse as source and as target."""
