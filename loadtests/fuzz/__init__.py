"""Inputs that nobody thought of: made by chance and by mutation, tried on a served process."""
