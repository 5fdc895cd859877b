"""One value as it was given, before it is checked."""

from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """Where a value comes from; the higher wins."""

    PRESET = 0
    FILE = 1
    VARIABLE = 2
    FLAG = 3


@dataclass(frozen=True)
class Given:
    """A value for the field `field`; `name` is what the user wrote, for messages."""

    field: str
    value: object
    name: str
    level: Level
