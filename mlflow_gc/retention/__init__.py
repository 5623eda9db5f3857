"""Deciding what is stale and what must stay: pure functions of (inventory, policy)."""
