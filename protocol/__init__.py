"""The messages between the API process and the engine process, over one socket.

They hold tokens, never text. Each direction is a tagged union of immutable structs in msgpack.
A token is an index into the model's vocabulary. A time is in seconds of CLOCK_MONOTONIC, which is
the same clock for all processes of a machine.
"""
