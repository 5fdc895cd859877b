"""GBNF: parsing, checking, and translation for llguidance and llama.cpp."""
