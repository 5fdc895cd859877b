"""Which cells hold which tokens, and who can reuse them. Pure."""
