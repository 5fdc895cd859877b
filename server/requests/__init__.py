"""Bodies of requests: reading, field types, and what they mean for a sequence."""
