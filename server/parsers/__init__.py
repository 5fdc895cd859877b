"""Parsers for the text of an answer: tool calls, thinking and content, read incrementally."""
