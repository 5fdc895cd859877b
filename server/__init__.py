"""The API process: HTTP, templates, tokenizing and text; it knows the engine by its protocol."""
