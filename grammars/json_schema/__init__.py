"""JSON Schema: which keywords hold, and what is refused."""
