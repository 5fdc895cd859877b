"""Output constraints: compiles JSON Schema, GBNF and the shipped grammars."""
