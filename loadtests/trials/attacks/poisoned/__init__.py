"""Faults that the trial puts into the engine."""
