"""The prune plan: the document, its canonical form, its schema, and the difference of two."""
