"""The demo model pair: the files, the training that makes them, and a tool that enlarges them."""
