"""Formatters of log lines, and the bridge from llama.cpp's log; both processes use them."""
