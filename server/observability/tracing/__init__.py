"""OpenTelemetry traces, an optional extra: a span for each request and for each of its answers.

Nothing here is imported unless traces are asked for, except `open_tracing`.
"""
