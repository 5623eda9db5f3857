"""Rendering a plan, always from the plan document, for people and machines."""
