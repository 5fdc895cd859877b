"""Finds marker strings in text that arrives in pieces."""

from __future__ import annotations

import re


class MarkerScanner:
    """Cuts a stream of text at markers that may span pieces.

    What might be the beginning of a marker is held back, so at most the longest marker's length
    less one; everything else passes at once.
    """

    def __init__(self, *markers: str) -> None:
        self._pattern = re.compile("|".join(re.escape(m) for m in sorted(markers, key=len)[::-1]))
        self._prefixes = frozenset(m[:n] for m in markers for n in range(1, len(m)))
        self._longest = max((len(marker) for marker in markers), default=1) - 1
        self._held = ""

    def feed(self, text: str) -> tuple[str, str | None, str]:
        """(text before the first marker, the marker or None, text after it).

        After a marker the rest was not looked at: feed it again, to this scanner or another.
        """
        text = self._held + text
        self._held = ""
        match = self._pattern.search(text)
        if match:
            return text[: match.start()], match.group(), text[match.end() :]
        for size in range(min(self._longest, len(text)), 0, -1):
            if text[-size:] in self._prefixes:
                self._held = text[-size:]
                return text[:-size], None, ""
        return text, None, ""

    @property
    def is_holding(self) -> bool:
        """Whether what may be the beginning of a marker is held back."""
        return bool(self._held)

    def flush(self) -> str:
        """What was held back, now that no marker can follow."""
        held, self._held = self._held, ""
        return held


class SpaceHolder:
    """Passes text on but for white space at its end, which may turn out to precede a marker."""

    def __init__(self, *, at_start: bool = False) -> None:
        """With `at_start`, leading white space is dropped as well."""
        self._space = ""
        self._trim = at_start

    def feed(self, text: str) -> str:
        """The text up to its last other character."""
        if self._trim:
            text = text.lstrip()
            if not text:
                return ""
            self._trim = False
        kept = text.rstrip()
        if not kept:
            self._space += text
            return ""
        out = self._space + kept
        self._space = text[len(kept) :]
        return out

    def drop(self) -> None:
        """Forget the space that is held, and what follows it."""
        self._space = ""
        self._trim = True

    def flush(self) -> str:
        """The space that is held."""
        space, self._space = self._space, ""
        return space
