"""Puts the parts of one server together, out of its settings."""
