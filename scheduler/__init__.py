"""The engine: a process of its own that batches sequences onto one llama.cpp context."""
