"""Reading the inventory of a server, through the backend or from its database."""
