"""Cached prefixes as files."""
