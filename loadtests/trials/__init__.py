"""Trials of a real server under conditions that it has to survive; each trial reports its
findings."""
