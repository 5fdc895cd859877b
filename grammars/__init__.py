"""Constraints on output: shipped grammars, and what JSON Schema and GBNF compile to."""
