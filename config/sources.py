"""A value as the user gave it, before any check."""

from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """The source of a value. A higher level wins over a lower one."""

    PRESET = 0
    FILE = 1
    VARIABLE = 2
    FLAG = 3


@dataclass(frozen=True)
class Given:
    """A value for the field `field`. `name` is the flag, variable or key that the user wrote."""

    field: str
    value: object
    name: str
    level: Level
