"""Markdown for merge requests and job summaries."""
