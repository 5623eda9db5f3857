"""The policy file: read, checked, tested."""
