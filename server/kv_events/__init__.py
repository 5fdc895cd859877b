"""Tells routers which blocks of tokens the cache holds, in vLLM's form over ZeroMQ."""
