"""Use cases: one module each.  They neither print nor know a command line; a reporter is handed in."""
