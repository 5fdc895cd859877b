"""A value as the user gave it, before any check."""

from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """The source of a value. A higher level wins over a lower one."""

    PRESET = 0
    FILE = 1
    VARIABLE = 2
    MODELS = 3
    """What a file says of all models of a server."""
    MODEL = 4
    """What a file says of one model."""
    FLAG = 5
    ALIAS = 6
    """What an alias changes for its requests."""


@dataclass(frozen=True)
class Given:
    """A value for the field `field`. `name` is the flag, variable or key that the user wrote."""

    field: str
    value: object
    name: str
    level: Level
