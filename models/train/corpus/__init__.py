"""The seeded generator of the demo models' corpus: one file for each skill."""
