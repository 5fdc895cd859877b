"""`llamapack launch`: coding agents, set up for a server and started with it."""
