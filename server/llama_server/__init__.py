"""llama-server's own dialect: native completions, tokens, and what the server tells of itself."""
