"""Decisions on what is stale and what is protected: pure functions of (inventory, policy)."""
