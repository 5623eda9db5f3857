"""Deleting permanently what a purge plan lists: rows and files, in one transaction per batch."""
