"""Applying a plan: the second look, the deletions, the journal."""
