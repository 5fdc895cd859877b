"""The threads that sample rows of a step at the same time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from queue import SimpleQueue

Task = Callable[[], None]


class _Job:
    """Tasks that several threads take, one after the other."""

    def __init__(self, tasks: Iterable[Task], num_helpers: int) -> None:
        self._tasks = deque(tasks)
        self._num_helpers = num_helpers
        self._helper_left = threading.Semaphore(0)
        self._errors: list[BaseException] = []

    def help(self) -> None:
        """Work for somebody else; errors are raised there."""
        try:
            self.work()
        except BaseException as error:
            self._errors.append(error)
        finally:
            self._helper_left.release()

    def work(self) -> None:
        """Carry out tasks until none is left to be begun."""
        while self._tasks:
            try:
                task = self._tasks.popleft()
            except IndexError:  # another thread was faster
                return
            task()

    def wait(self) -> None:
        """Wait for the helpers. Raises what a task has raised."""
        for _ in range(self._num_helpers):
            self._helper_left.acquire()
        if self._errors:
            raise self._errors[0]


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

    def run(self, tasks: list[Task], meanwhile: Task = lambda: None) -> None:
        """Carry out all tasks, in any order. The calling thread does `meanwhile` before it helps.

        Raises what a task has raised.
        """
        num_helpers = min(len(self._threads), len(tasks))
        job = _Job(tasks, num_helpers)
        for _ in range(num_helpers):
            self._jobs.put(job)
        try:
            meanwhile()
            job.work()
        finally:
            job.wait()

    def close(self) -> None:
        """End the threads."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _help(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.help()
