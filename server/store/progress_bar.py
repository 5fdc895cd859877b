"""Shows a pull to people: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from server.store.progress import OnProgress, PullProgress, PullStatus
from server.store.sizes import human_size

_PLAIN_SECONDS = 10.0
"""Interval of plain lines about one file."""
_SPEED_SECONDS = 5.0
"""The speed is that of about so many seconds."""
_WIDEST, _NARROWEST = 30, 10
"""Characters of a bar."""
_SHORTEST_NAME = 16
_BESIDE_BAR = 9
"""Characters of the share, and of the gaps beside the bar."""
_CLEAR = "\r\x1b[K"
_BRIEF = (PullStatus.RESOLVING, PullStatus.WAITING)


@contextmanager
def progress_bar(
    out: TextIO | None = None, clock: Callable[[], float] = time.monotonic
) -> Iterator[OnProgress]:
    """Give a function that shows reports, on standard error by default."""
    out = out or sys.stderr
    if not out.isatty():
        yield _Lines(out, clock).show
        return
    bar = _Bar(out, clock)
    try:
        yield bar.show
    finally:
        bar.end()


class _Speed:
    """Bytes a second, with the older seconds fading out."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._file = ""
        self._last: tuple[float, int] | None = None
        self._rate: float | None = None

    def of(self, progress: PullProgress) -> float | None:
        """The speed after this report; None as long as it isn't known."""
        now = self._clock()
        if progress.status is not PullStatus.DOWNLOADING or progress.file != self._file:
            self._file, self._last, self._rate = progress.file, None, None
        if self._last is None or progress.completed < self._last[1]:
            self._last = (now, progress.completed)
            return self._rate
        seconds, count = now - self._last[0], progress.completed - self._last[1]
        if seconds <= 0:
            return self._rate
        weight = min(1.0, seconds / _SPEED_SECONDS)
        rate = count / seconds
        self._rate = rate if self._rate is None else self._rate + weight * (rate - self._rate)
        self._last = (now, progress.completed)
        return self._rate


class _Bar:
    """One line that is written over, and a line for each complete file."""

    def __init__(self, out: TextIO, clock: Callable[[], float]) -> None:
        self._out = out
        self._speed = _Speed(clock)
        self._end = ""

    def show(self, progress: PullProgress) -> None:
        speed = self._speed.of(progress)
        line = _bar_line(progress, speed, shutil.get_terminal_size().columns - 1)
        is_done = progress.status is PullStatus.DONE
        self._out.write(f"{_CLEAR}{line}" + ("\n" if is_done else ""))
        self._out.flush()
        self._end = "" if is_done else _CLEAR if progress.status in _BRIEF else "\n"

    def end(self) -> None:
        """Leave the last line as it is, if it tells something; what follows has its own line."""
        self._out.write(self._end)
        self._out.flush()


class _Lines:
    """A line for each new state, and one for a file now and then."""

    def __init__(self, out: TextIO, clock: Callable[[], float]) -> None:
        self._out, self._clock = out, clock
        self._state: tuple[PullStatus, str, str] | None = None
        self._next = 0.0

    def show(self, progress: PullProgress) -> None:
        if progress.status is PullStatus.RESOLVING:
            return  # it is over at once, and says nothing that the user has not typed
        state = (progress.status, progress.file, progress.reason)
        now = self._clock()
        if state == self._state and now < self._next:
            return
        self._state, self._next = state, now + _PLAIN_SECONDS
        print(_plain_line(progress), file=self._out, flush=True)


def _plain_line(progress: PullProgress) -> str:
    words = [progress.status, progress.file, _amount(progress)]
    if progress.reason:
        words.append(f"({progress.reason})")
    return " ".join(filter(None, words))


def _bar_line(progress: PullProgress, speed: float | None, width: int) -> str:
    """The line of a terminal; where it is narrow, the name is cut, then the bar goes."""
    if progress.status is PullStatus.DONE:
        return _cut(f"{progress.file}  {human_size(progress.completed)}", width)
    if progress.reason or progress.status is PullStatus.RESOLVING:
        why = f": {progress.reason}" if progress.reason else ""
        return _cut(f"{progress.file}  {progress.status}{why}", width)
    amount = _amount(progress)
    if progress.status is PullStatus.CHECKING:
        amount = f"{amount}  checking what is there"
    elif speed is not None:
        amount = f"{amount}  {human_size(int(speed))}/s{_left(progress, speed)}"
    room = width - len(amount) - _BESIDE_BAR
    name = _cut(progress.file, max(_SHORTEST_NAME, room - _NARROWEST))
    bar = _drawn(progress, min(_WIDEST, room - len(name)))
    return _cut("  ".join(filter(None, [name, bar, amount])), width)


def _drawn(progress: PullProgress, width: int) -> str:
    if not progress.total or width < _NARROWEST:
        return ""
    share = min(1.0, progress.completed / progress.total)
    full = int(share * width)
    return f"{'█' * full}{'░' * (width - full)} {share:4.0%}"


def _amount(progress: PullProgress) -> str:
    total = f" of {human_size(progress.total)}" if progress.total is not None else ""
    if progress.status is PullStatus.DONE:
        return human_size(progress.completed)
    return f"{human_size(progress.completed)}{total}"


def _left(progress: PullProgress, speed: float) -> str:
    """The time that is left at this speed."""
    if progress.total is None or speed < 1:
        return ""
    seconds = round((progress.total - progress.completed) / speed)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"  {hours}h{minutes:02}m left"
    return f"  {minutes}m{seconds:02}s left" if minutes else f"  {seconds}s left"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"
