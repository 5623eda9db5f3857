"""The files of artifact stores: listing and deleting them, key by key."""
