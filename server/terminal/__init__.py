"""Commands that ask a running server: a chat in the terminal, and the models that are loaded."""
