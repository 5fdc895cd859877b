"""The books of the KV cache: which cells hold which tokens, and who can reuse them. Pure."""
