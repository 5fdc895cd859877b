"""The model's files: their sources, header, vocabulary and adapters."""
