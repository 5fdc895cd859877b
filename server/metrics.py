"""Counters and histograms of one server, in llama-server's and vLLM's names."""


class ServerMetrics:
    """What the server counted since it started."""
