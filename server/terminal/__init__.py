"""`llamapack run`: a chat in the terminal."""
