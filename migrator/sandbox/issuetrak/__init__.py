"""An embedded Issuetrak."""
