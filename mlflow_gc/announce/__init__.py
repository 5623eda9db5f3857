"""Announcing deletions by tags, a grace period before them."""
