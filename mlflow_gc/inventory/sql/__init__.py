"""Reading the same inventory from the database of a server, read-only."""
