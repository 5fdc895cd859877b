"""The model's files: where they come from, their header, vocabulary and adapters."""
