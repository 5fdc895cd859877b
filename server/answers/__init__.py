"""One way to answer a request with what its sequences generate, for all dialects."""
