"""llama-server's own dialect: native completions, tokens, and reports about the server."""
