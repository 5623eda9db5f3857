"""Each entity is re-checked immediately before its deletion."""
