"""Loading, checking and testing policy files."""
