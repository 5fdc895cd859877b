"""Runs chat templates in confined processes, so that a template can't hold up the server.

A render is short, so two processes answer all of them in turn. What isn't done after
`QUICK_SECONDS` is stopped, and begins again in a process for slow renders, with more time. So a
slow render delays slow renders alone.
"""

from __future__ import annotations

import atexit
import json
import math
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

from confined.child import Child, Died, TooSlow
from server.errors import Overloaded
from server.templates.outcome import PROBLEMS, TEXT, RenderLimit, decode, encode

QUICK_SECONDS = 0.1
"""CPU time in which chats of thousands of messages are rendered."""

RENDER_SECONDS = 2.0
"""CPU time after which a render is given up."""

_QUICK_WALL, _RENDER_WALL = 1.0, 20.0
"""Wall-clock limits of the two, while other processes use the machine."""

_QUICK_PROCESSES = 2
_MOST_SLOW = 16
"""Slow renders that run or wait; each of them holds a worker thread."""

_PROGRAM = "server.templates.renderer"


class _Renderer:
    """One process, and the templates that the process has compiled.

    Compiling a large template can take longer than all quick renders, but no request steers it: the
    template has been compiled at the server's start. So its time doesn't count as the render's.
    """

    def __init__(self) -> None:
        self._child = Child(_PROGRAM)
        self._compiled: set[bytes] = set()
        self.start = self._child.start
        self.close = self._child.close

    def ask(
        self, source: bytes, variables: bytes, *, cpu_seconds: float, wall_seconds: float
    ) -> bytes:
        """The process's answer. Raises `TooSlow` and `Died`."""
        head = len(source).to_bytes(4, "little") + source
        try:
            if source not in self._compiled:
                answer = self._child.ask(
                    head, cpu_seconds=RENDER_SECONDS, wall_seconds=_RENDER_WALL
                )
                if not answer.startswith(TEXT):
                    return answer
                self._compiled.add(source)
            return self._child.ask(
                head + variables, cpu_seconds=cpu_seconds, wall_seconds=wall_seconds
            )
        except (TooSlow, Died):
            self._compiled.clear()
            raise


class Renderers:
    """The processes, which start on first use and are replaced after a breach. Thread-safe."""

    def __init__(self) -> None:
        self._all_quick = [_Renderer() for _ in range(_QUICK_PROCESSES)]
        self._quick = deque(self._all_quick)
        """The idle ones; those that have just been started are at the left."""
        self._any_quick = threading.Semaphore(_QUICK_PROCESSES)
        self._slow = _Renderer()
        self._slow_lock = threading.Lock()
        self._slow_places = threading.Semaphore(_MOST_SLOW)

    def start(self) -> None:
        """Start the processes for quick renders, and don't wait for them."""
        for renderer in self._all_quick:
            renderer.start()

    def compile(self, source: bytes) -> None:
        """Raise `InvalidTemplate` unless `source` is a template; `RenderLimit` if it breaks a
        limit."""
        self._ask(source, b"")

    def render(self, source: bytes, variables: Mapping[str, Any]) -> str:
        """The text of a template. Raises `TemplateProblem`; `Overloaded` if too many renders are
        slow.

        The variables are JSON values. The call blocks.
        """
        return self._ask(source, json.dumps(variables, default=str).encode())

    def close(self) -> None:
        """End all processes."""
        for renderer in [*self._all_quick, self._slow]:
            renderer.close()

    def _ask(self, source: bytes, variables: bytes) -> str:
        try:
            answer = self._ask_quick(source, variables)
            if answer is None:
                answer = self._ask_slow(source, variables)
        except TooSlow:
            raise RenderLimit(f"it takes more than {RENDER_SECONDS:g} s to compute") from None
        except Died:
            raise RenderLimit("it needs too much memory, or nests too deeply") from None
        text = decode(answer[1:])
        if not answer.startswith(TEXT):
            raise PROBLEMS[answer[:1]](text)
        return text

    def _ask_quick(self, source: bytes, variables: bytes) -> bytes | None:
        """The answer, or None if it doesn't come soon."""
        with self._any_quick:
            renderer = self._quick.pop()
            put_back = self._quick.appendleft
            try:
                answer = renderer.ask(
                    source, variables, cpu_seconds=QUICK_SECONDS, wall_seconds=_QUICK_WALL
                )
                put_back = self._quick.append
                return answer
            except TooSlow:
                renderer.start()
                return None
            except Died:
                renderer.start()
                raise
            finally:
                put_back(renderer)

    def _ask_slow(self, source: bytes, variables: bytes) -> bytes:
        if not self._slow_places.acquire(blocking=False):
            raise Overloaded(
                "too many chats are slow to render; try again later",
                retry_after=math.ceil(RENDER_SECONDS),
                reason="slow_templates",
            )
        try:
            with self._slow_lock:
                return self._slow.ask(
                    source, variables, cpu_seconds=RENDER_SECONDS, wall_seconds=_RENDER_WALL
                )
        finally:
            self._slow_places.release()


def source_bytes(source: str) -> bytes:
    """A template's source as `Renderers` take it."""
    return encode(source)


renderers = Renderers()
"""The renderers of this process."""

atexit.register(renderers.close)
