"""Runs chat templates in confined processes, so that a template can't hold up the server."""

from __future__ import annotations

import atexit
import json
from collections.abc import Mapping
from typing import Any

from confined.child import Child, Died, TooSlow
from confined.pool import Pace, Pool
from server.templates.outcome import PROBLEMS, TEXT, RenderLimit, decode, encode

QUICK = Pace(cpu_seconds=0.1, wall_seconds=1.0)
"""Time in which chats of thousands of messages are rendered."""

SLOW = Pace(cpu_seconds=2.0, wall_seconds=20.0)
"""Time after which a render is given up."""

_PROGRAM = "server.templates.renderer"

_Question = tuple[bytes, bytes]
"""A template's source, and its variables as JSON. Without variables it is only compiled."""


class _Renderer:
    """One process, and the templates that the process has compiled.

    Compiling a large template can take longer than all quick renders, but no request steers it: the
    template has been compiled at the server's start. So its time doesn't count as the render's.
    """

    def __init__(self, niceness: int) -> None:
        self._child = Child(_PROGRAM, niceness=niceness)
        self._compiled: set[bytes] = set()

    def start(self) -> None:
        """Start the process, and don't wait for it."""
        self._child.start()

    def close(self) -> None:
        """End the process."""
        self._child.close()

    def ask(self, question: _Question, *, cpu_seconds: float, wall_seconds: float) -> bytes:
        """The process's answer. Raises `TooSlow` and `Died`."""
        source, variables = question
        head = len(source).to_bytes(4, "little") + source
        try:
            if source not in self._compiled:
                answer = self._child.ask(
                    head, cpu_seconds=SLOW.cpu_seconds, wall_seconds=SLOW.wall_seconds
                )
                if not answer.startswith(TEXT):
                    return answer
                self._compiled.add(source)
            return self._child.ask(
                head + variables, cpu_seconds=cpu_seconds, wall_seconds=wall_seconds
            )
        except BaseException:
            self._compiled.clear()
            raise


class Renderers:
    """The processes. Thread-safe."""

    def __init__(self) -> None:
        self.pool: Pool[_Question] = Pool(_Renderer, quick=QUICK, slow=SLOW)

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
