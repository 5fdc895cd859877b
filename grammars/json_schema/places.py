"""Places in a JSON value, which become JSON pointers only where one is shown."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """A place below another one.

    A pointer repeats every key above its place. Thousands of pointers below one long key would
    take gigabytes.
    """

    above: Place | None
    step: str
    """What the pointer has after that of `above`: empty, or `/` and escaped keys."""

    def __truediv__(self, key: object) -> Place:
        """The place of an object's key, or of a list's index."""
        return Place(self, f"/{escape(str(key))}")

    def below(self, step: str) -> Place:
        """The place that a relative pointer leads to from here."""
        return Place(self, step)

    def __str__(self) -> str:
        """The JSON pointer."""
        steps: list[str] = []
        place: Place | None = self
        while place is not None:
            steps.append(place.step)
            place = place.above
        return "".join(reversed(steps))


ROOT = Place(None, "")


def escape(key: str) -> str:
    """A key as it stands in a JSON pointer."""
    return key.replace("~", "~0").replace("/", "~1")
