"""The same inventory from the database behind the server, read-only."""
