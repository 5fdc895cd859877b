"""Texts to vectors, and texts to scores, in OpenAI's, llama-server's and Jina's shapes."""
