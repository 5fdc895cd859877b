"""The one error of this package."""

from __future__ import annotations


class GrammarError(Exception):
    """A schema or grammar that is wrong, too large or not supported; the client's to mend.

    `path` is the place: a JSON pointer into a schema (`/properties/age`), `line:column` in a
    grammar's text, or None when the whole is meant.
    """

    def __init__(self, message: str, path: str | None = None) -> None:
        super().__init__(message if path is None else f"{message} (at {path or 'the root'})")
        self.message = message
        self.path = path
