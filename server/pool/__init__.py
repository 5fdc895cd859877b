"""The models that a server has: which are loaded, who uses them, which go to make room."""
