"""Frozen data and pure functions over text: what every other room speaks of."""
