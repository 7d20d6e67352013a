"""An embedded TeamPulse."""
