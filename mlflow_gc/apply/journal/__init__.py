"""The journal: attempts and their outcomes, line by line."""
