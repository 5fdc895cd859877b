"""The form of log lines, and llama.cpp's log in Python's logging; used by both processes."""
