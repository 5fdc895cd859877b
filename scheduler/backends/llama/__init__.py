"""The backend that drives llama.cpp through its C API."""
