"""Confined processes that share the questions of one kind, so that slow ones delay slow ones alone.

Most questions are short, so a few processes answer all of them in turn. What isn't done soon is
stopped, and begins again in a process for slow questions, with more time and in a queue of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from confined.child import Died, TooSlow
from confined.failures import Failures
from confined.turns import Turns
from confined.work import Work, current_work

NUM_QUICK = 2
"""Processes for the first attempt at every question."""

MOST_SLOW = 16
"""Slow questions that run or wait; each of them holds a thread."""

SLOW_NICENESS = 5
"""How much slow work stands back behind the other processes of the machine."""

HURRY_FROM = 2
HURRIED = 0.2
"""An owner with so many slow questions gets this part of the time for the next quick attempts: the
owner's other questions, which take next to nothing, wait for all of these."""

MOST_SLOW_OF_ONE = 8
"""Slow questions of one piece of work; it may ask nothing more after them."""

QuestionT = TypeVar("QuestionT", bound=Hashable)
_Asked = TypeVar("_Asked", contravariant=True)


class Spent(TooSlow):
    """The work has asked so many slow questions that this one wasn't asked any more."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long the answer to one question may take."""

    cpu_seconds: float
    wall_seconds: float
    """While other processes use the machine."""


class Worker(Protocol[_Asked]):
    """One process that answers one question at a time; `Child` is one for questions in bytes."""

    def start(self) -> None:
        """Start the process, and don't wait for it."""

    def ask(self, question: _Asked, /, *, cpu_seconds: float, wall_seconds: float) -> bytes:
        """The answer. Raises `TooSlow` and `Died`, after which the process is another one."""
        ...

    def close(self) -> None:
        """End the process."""


class _Slow(Exception):
    """The quick attempt was stopped, or would be."""


class Pool(Generic[QuestionT]):
    """The processes, which start on first use and are replaced after a breach. Thread-safe."""

    def __init__(
        self, make: Callable[[int], Worker[QuestionT]], *, quick: Pace, slow: Pace
    ) -> None:
        """`make` makes a worker of the given niceness. `quick` bounds the first attempt at a
        question, `slow` the second."""
        self.quick, self.slow = quick, slow
        self._all_quick = [make(0) for _ in range(NUM_QUICK)]
        self._failures = Failures()
        self._idle = deque(self._all_quick)
        """Those that have just been started are at the left."""
        self._slow = make(SLOW_NICENESS)
        self._quick_turns = Turns(NUM_QUICK)
        self.slow_turns = Turns(1, most=MOST_SLOW)

    def start(self) -> None:
        """Start the processes for quick questions, and don't wait for them."""
        for worker in self._all_quick:
            worker.start()

    def close(self) -> None:
        """End all processes."""
        for worker in [*self._all_quick, self._slow]:
            worker.close()

    def ask(self, question: QuestionT) -> bytes:
        """The answer to one question. The call blocks, in turns that owners of `Work` share fairly.

        Raises `TooSlow`, and `Died` if the question ended its process; `Crowded` if too many
        questions are slow; `Spent` if too many of this work were slow; `Cancelled` soon after the
        thread's work was called off.
        """
        work = current_work()
        if work.num_slow >= MOST_SLOW_OF_ONE:
            raise Spent
        with work.aside():
            return self._answer(question, work)

    def _answer(self, question: QuestionT, work: Work) -> bytes:
        if not self._failures.is_slow(question):
            try:
                return self._ask_quickly(question, work)
            except _Slow:
                self._failures.add(question)
        work.num_slow += 1
        work.on_slow()
        with self.slow_turns.turn(work):
            self._failures.is_slow(question)  # another one may have asked the same meanwhile
            try:
                return _ask(self._slow, question, self.slow)
            except (TooSlow, Died) as error:
                self._failures.add(question, type(error))
                raise

    def _quick_pace(self, owner: str) -> Pace:
        is_hurried = self.slow_turns.num_of(owner) >= HURRY_FROM
        return _hurried(self.quick) if is_hurried else self.quick

    def _ask_quickly(self, question: QuestionT, work: Work) -> bytes:
        """The answer, if it takes little time. Raises `_Slow` otherwise."""
        with self._quick_turns.turn(work):
            if self._failures.is_slow(question):
                raise _Slow
            worker = self._idle.pop()
            put_back = self._idle.appendleft
            try:
                answer = _ask(worker, question, self._quick_pace(work.owner))
                put_back = self._idle.append
                return answer
            except TooSlow:
                worker.start()
                raise _Slow from None
            except Died:
                self._failures.add(question, Died)
                worker.start()
                raise
            except BaseException:
                worker.start()
                raise
            finally:
                put_back(worker)


def _hurried(pace: Pace) -> Pace:
    return Pace(pace.cpu_seconds * HURRIED, pace.wall_seconds)


def _ask(worker: Worker[QuestionT], question: QuestionT, pace: Pace) -> bytes:
    return worker.ask(question, cpu_seconds=pace.cpu_seconds, wall_seconds=pace.wall_seconds)
