"""OpenTelemetry traces, an optional extra: one span a request, and one for each of its answers.

Nothing here is imported unless traces are asked for, except `open_tracing`.
"""
