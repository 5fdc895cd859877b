"""The nouns of the engine: sequences, slots, steps, cache edits, results."""
