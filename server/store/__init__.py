"""Model files on disk: pulled, imported, listed and removed."""
