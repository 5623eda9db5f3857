"""Deleting permanently what a purge plan lists: files, then rows, in one transaction per batch."""
