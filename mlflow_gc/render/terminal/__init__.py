"""Text for a terminal or the log of a job."""
