"""The names of a model that clients may use."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from server.errors import NotFound

LATEST = ":latest"
"""The tag that Ollama's clients add to names that have none."""

_MOST_LISTED = 5
_MOST_SHOWN = 100
"""Characters of an unknown name that its error repeats."""


def names_of(name: str, aliases: Iterable[str], path: str) -> frozenset[str]:
    """All names of a model: its own, its aliases, its path, and its file's name and stem."""
    file = Path(path)
    of_file = (path, file.name, file.stem) if path else ()
    return frozenset((name, *aliases, *of_file))


def matching(asked: str, known: Collection[str]) -> str | None:
    """The known name that is meant; None without one. `:latest` makes no difference."""
    candidates = (asked, asked.removesuffix(LATEST), f"{asked}{LATEST}")
    return next((name for name in candidates if name in known), None)


def no_such_model(asked: str, served: Iterable[str]) -> NotFound:
    """The error of a name that no model has."""
    names = sorted(served)
    more = len(names) - _MOST_LISTED
    listed = ", ".join(repr(name) for name in names[:_MOST_LISTED])
    rest = f" and {more} more" if more > 0 else ""
    known = f"this server serves {listed}{rest}" if names else "this server has no models yet"
    return NotFound(f"there is no model {asked[:_MOST_SHOWN]!r} here; {known}", param="model")
