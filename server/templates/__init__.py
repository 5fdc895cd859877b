"""Chat templates: rendering, and what a template can do."""
