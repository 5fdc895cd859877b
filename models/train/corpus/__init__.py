"""The seeded generator of the demo models' corpus, with one file for each skill."""
