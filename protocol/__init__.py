"""What crosses the socket between the API process and the engine process.

Tokens cross, text never does. Both directions are tagged unions of immutable structs in msgpack.
A token is an index into the model's vocabulary. A time is seconds of CLOCK_MONOTONIC, which is one
clock for all processes of a machine.
"""
