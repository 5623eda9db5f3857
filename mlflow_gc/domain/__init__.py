"""Frozen data and pure functions over text, shared by all other packages."""
