"""Applying a plan: the re-check, the deletions, the journal, the restore."""
