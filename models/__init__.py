"""The demo model pair: the files, how they are made, and how they are made larger."""
