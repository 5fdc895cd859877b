"""Runs chat templates in confined processes, so that a template can't hold up the server."""

from __future__ import annotations

import atexit
import json
from collections.abc import Mapping
from typing import Any

from confined.child import Child, Died, TooSlow
from confined.pool import Pace, Pool
from confined.prepared import PreparedChild, Question
from server.templates.outcome import PROBLEMS, TEXT, RenderLimit, decode, encode

QUICK = Pace(cpu_seconds=0.1, wall_seconds=1.0)
"""Time in which chats of thousands of messages are rendered."""

SLOW = Pace(cpu_seconds=2.0, wall_seconds=20.0)
"""Time after which a render is given up."""

_GRACE_SECONDS = 0.1
"""CPU time for the end of a render that is interrupted. A new process would take as long."""

_PROGRAM = "server.templates.renderer"


def _renderer(niceness: int) -> PreparedChild:
    """A process, which compiles each template once. The templates are those of the server."""
    child = Child(_PROGRAM, niceness=niceness, grace_seconds=_GRACE_SECONDS)
    return PreparedChild(child, SLOW, is_refusal=lambda answer: not answer.startswith(TEXT))


class Renderers:
    """The processes. Thread-safe."""

    def __init__(self) -> None:
        self.pool: Pool[Question] = Pool(_renderer, quick=QUICK, slow=SLOW)

    def start(self) -> None:
        """Start the processes for quick renders, and don't wait for them."""
        self.pool.start()

    def compile(self, source: bytes) -> None:
        """Raise `InvalidTemplate` unless `source` is a template; `RenderLimit` if it breaks a
        limit."""
        self._ask(source, b"")

    def render(self, source: bytes, variables: Mapping[str, Any]) -> str:
        """The text of a template. Raises `TemplateProblem`; `Crowded` if too many renders are slow.

        The variables are JSON values. The call blocks.
        """
        return self._ask(source, json.dumps(variables, default=str).encode())

    def close(self) -> None:
        """End all processes."""
        self.pool.close()

    def _ask(self, source: bytes, variables: bytes) -> str:
        try:
            answer = self.pool.ask((source, variables))
        except TooSlow:
            seconds = self.pool.slow.cpu_seconds
            raise RenderLimit(f"it takes more than {seconds:g} s to compute") from None
        except Died:
            raise RenderLimit("it needs too much memory, or nests too deeply") from None
        text = decode(answer[1:])
        if not answer.startswith(TEXT):
            raise PROBLEMS[answer[:1]](text)
        return text


def source_bytes(source: str) -> bytes:
    """A template's source as `Renderers` take it."""
    return encode(source)


renderers = Renderers()
"""The renderers of this process."""

atexit.register(renderers.close)
