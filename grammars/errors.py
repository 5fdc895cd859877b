"""The errors that this package raises."""

from __future__ import annotations


class GrammarError(Exception):
    """A schema or grammar that is wrong, too large or not supported; the client has to correct it.

    `path` is the place of the error: a JSON pointer into a schema (`/properties/age`),
    `line:column` in a grammar's text, or None if the whole constraint is meant.
    """

    def __init__(self, message: str, path: str | None = None) -> None:
        super().__init__(message if path is None else f"{message} (at {path or 'the root'})")
        self.message = message
        self.path = path


class WrongSchema(GrammarError):
    """A schema that breaks the rules of JSON Schema."""


class TooCostly(GrammarError):
    """Building the constraint broke a limit of time or memory."""


class UnsupportedKeyword(GrammarError):
    """A keyword that can't be enforced; `path` leads to the keyword."""
