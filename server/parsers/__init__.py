"""Tool calls in the text of an answer: one incremental parser per family of templates."""
