"""The data types of the engine: sequences, slots, steps, cache edits, results."""
