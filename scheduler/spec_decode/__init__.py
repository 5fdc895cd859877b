"""Speculative decoding: who drafts, how many tokens, and whether it pays. Pure."""
