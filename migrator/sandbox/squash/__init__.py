"""An embedded Squash TM."""
