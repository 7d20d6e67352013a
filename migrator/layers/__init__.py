"""Behaviour around any `Source` or `Target`; each layer is one itself."""
