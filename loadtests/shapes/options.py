"""Options that all shapes share."""

from __future__ import annotations

from argparse import ArgumentParser

from locust import events

SPAWN_RATE = 50.0
"""Users that start or stop per second, if the shape doesn't say otherwise."""


def add_options(parser: ArgumentParser) -> None:
    """Add the options for the size of the shape."""
    parser.add_argument("--peak", type=int, default=32, help="most users at once")
    parser.add_argument("--seconds", type=float, default=300.0, help="length of the run")


events.init_command_line_parser.add_listener(add_options)
