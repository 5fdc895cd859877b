"""Finds markers in text that arrives in pieces."""

from __future__ import annotations

import re


class MarkerScanner:
    """Cuts a stream of text at markers that may span pieces.

    The scanner holds back text that may be the beginning of a marker: at most the longest marker's
    length minus one. All other text passes at once.
    """

    def __init__(self, *markers: str) -> None:
        self._pattern = re.compile("|".join(re.escape(m) for m in sorted(markers, key=len)[::-1]))
        self._prefixes = frozenset(m[:n] for m in markers for n in range(1, len(m)))
        self._longest = max((len(marker) for marker in markers), default=1) - 1
        self._held = ""

    def feed(self, text: str) -> tuple[str, str | None, str]:
        """(text before the first marker, the marker or None, text after the marker).

        The text after a marker is unread. Feed it again, to this scanner or another.
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
        """Whether text that may begin a marker is held back."""
        return bool(self._held)

    def flush(self) -> str:
        """Return what was held back, because no marker can follow now."""
        held, self._held = self._held, ""
        return held


class SpaceHolder:
    """Passes text on, but holds back white space at its end, because a marker may follow."""

    def __init__(self, *, at_start: bool = False) -> None:
        """`at_start` says that leading white space is dropped as well."""
        self._space = ""
        self._trim = at_start

    def feed(self, text: str) -> str:
        """Read text; return the text up to the last character that isn't white space."""
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
        """Forget the white space that is held, and drop white space that follows directly."""
        self._space = ""
        self._trim = True

    def flush(self) -> str:
        """Return the white space that is held."""
        space, self._space = self._space, ""
        return space
