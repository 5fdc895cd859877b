"""Storage: cached prefixes as files."""
