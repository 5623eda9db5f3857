"""What the tests stand on: real servers, data in them, the program as a process, an oracle."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The checkout."""
