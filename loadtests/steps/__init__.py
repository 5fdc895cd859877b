"""What the engine's thread does in a step besides computing."""
