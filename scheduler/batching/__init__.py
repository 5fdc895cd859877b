"""Batching: what a step costs, and how its rows are divided into batches. Pure."""
