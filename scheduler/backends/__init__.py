"""What computes a step: llama.cpp, behind an interface."""
