"""The engine's loop, and what it carries out between two steps."""
