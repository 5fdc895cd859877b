"""The threads that sample rows of a step at the same time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

Task = Callable[[], None]


class _Job:
    """Tasks that several threads take, one after the other."""

    def __init__(self, tasks: list[Task]) -> None:
        self._count = len(tasks)
        self._tasks = deque(tasks)
        self._ended: SimpleQueue[BaseException | None] = SimpleQueue()
        """Of each task that has ended, what it has raised."""

    def work(self) -> None:
        """Carry out tasks until none is left to be begun. Nothing is raised."""
        while (task := self._take()) is not None:
            try:
                task()
            except BaseException as error:
                self._ended.put(error)
            else:
                self._ended.put(None)

    def wait(self) -> None:
        """Wait for the ends of all tasks. Raises what a task has raised."""
        ends = [self._ended.get() for _ in range(self._count)]
        for error in ends:
            if error is not None:
                raise error

    def _take(self) -> Task | None:
        try:
            return self._tasks.popleft()
        except IndexError:
            return None


class SamplingThreads:
    """Carries out tasks beside the calling thread, which helps.

    Tasks are worth a thread if they release the interpreter's lock for most of their time.
    """

    def __init__(self, count: int) -> None:
        """`count` is the number of threads beside the calling one."""
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._help, name=f"sampling-{index}", daemon=True)
            for index in range(count)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def count(self) -> int:
        """Threads that tasks run in, with the calling one."""
        return 1 + len(self._threads)

    def run(self, tasks: list[Task], meanwhile: Task | None = None) -> None:
        """Carry out all tasks, in any order. The calling thread does `meanwhile` before it helps.

        Raises what a task has raised, once all have ended.
        """
        job = _Job(tasks)
        num_own = 1 if meanwhile is None else 0
        for _ in range(min(len(self._threads), len(tasks) - num_own)):
            self._jobs.put(job)
        try:
            if meanwhile is not None:
                meanwhile()
        finally:
            job.work()
            job.wait()

    def close(self) -> None:
        """End the threads."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _help(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.work()
