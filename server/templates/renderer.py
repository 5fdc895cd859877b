"""The confined process that runs chat templates: `python -m server.templates.renderer`.

A question is a source and the variables as JSON; a source alone is compiled. An answer is a letter
of `server.templates.outcome` and a text. A template that needs too much memory ends the process.
"""

from __future__ import annotations

import functools
import json

import jinja2

from confined.loop import answer_all
from confined.prepared import split
from server.templates.outcome import (
    TEXT,
    InvalidTemplate,
    RenderFailure,
    TemplateProblem,
    decode,
    encode,
)
from server.templates.sandbox import TemplateEnvironment

MEMORY_BYTES = 1 << 30
"""Maximum address space, for Python, the messages, the template's work and its text."""

_MAX_REASON = 2000
"""Maximum length of a reason in characters; a template may make an error of any size."""

_environment = TemplateEnvironment()


def answer(question: bytes) -> bytes:
    """The answer to one question."""
    try:
        return TEXT + encode(_rendered(*split(question)))
    except TemplateProblem as problem:
        return problem.code + encode(str(problem)[:_MAX_REASON])


def _rendered(source: bytes, variables: bytes) -> str:
    template = _compiled(source)
    if not variables:
        return ""
    try:
        return _environment.render(template, json.loads(variables))
    except (MemoryError, TemplateProblem):
        raise
    except Exception as error:
        # A template is a program of the model's author, and may raise anything.
        raise RenderFailure(str(error)) from error


@functools.lru_cache(maxsize=64)
def _compiled(source: bytes) -> jinja2.Template:
    try:
        return _environment.from_string(decode(source))
    except MemoryError:
        raise
    except Exception as error:  # Python's own compiler has limits too
        line = getattr(error, "lineno", None)
        where = f" (line {line})" if line else ""
        raise InvalidTemplate(f"{where}: {error}") from error


if __name__ == "__main__":
    answer_all(answer, memory_bytes=MEMORY_BYTES, is_interruptible=True)
