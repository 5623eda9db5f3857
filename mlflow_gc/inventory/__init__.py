"""What a server holds, read through the backend or from its database."""
