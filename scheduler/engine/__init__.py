"""The engine: its loop, its steps, and the files that it reads and writes between steps."""
