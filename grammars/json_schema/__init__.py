"""JSON Schema: which keywords are enforced, and which are refused."""
