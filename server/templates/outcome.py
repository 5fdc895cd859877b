"""What comes of a render besides its text, and how that is written between the processes."""

from __future__ import annotations

from typing import ClassVar

TEXT = b"t"
"""The first byte of an answer with the rendered text; other answers begin with a problem's code."""


class TemplateProblem(Exception):
    """There is no text; the message says why."""

    code: ClassVar[bytes]


class TemplateRefusal(TemplateProblem):
    """The template called `raise_exception`; the message is from the template's author."""

    code = b"r"


class RenderFailure(TemplateProblem):
    """The template's program failed with these variables."""

    code = b"f"


class RenderLimit(TemplateProblem):
    """The render took too long or grew too large."""

    code = b"l"


class InvalidTemplate(TemplateProblem):
    """The source is no Jinja template."""

    code = b"i"


PROBLEMS: dict[bytes, type[TemplateProblem]] = {
    kind.code: kind for kind in (TemplateRefusal, RenderFailure, RenderLimit, InvalidTemplate)
}


def encode(text: str) -> bytes:
    """Text as bytes; lone surrogates, which JSON can bring, survive."""
    return text.encode("utf-8", "surrogatepass")


def decode(data: bytes) -> str:
    """The inverse of `encode`."""
    return data.decode("utf-8", "surrogatepass")
