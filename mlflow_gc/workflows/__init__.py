"""Use cases, one module each, without printing or command line; they take a reporter."""
