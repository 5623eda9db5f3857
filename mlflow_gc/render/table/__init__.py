"""Flat rows for spreadsheets and data frames."""
