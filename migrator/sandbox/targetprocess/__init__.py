"""An embedded Targetprocess."""
