"""Parts shared by several media."""
